//! One component as a process: `p2psip-contract SERVICE ADDRESS FOLDER [IDENTITY]`. It prints the address at which it
//! listens, and ends at SIGTERM, or when its input is closed.

use std::path::Path;

use anyhow::Context as _;
use p2psip_contract::{Component, Service};
use rpc::{ComponentIdentity, Listener};
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [service, address, folder, identity @ ..] = arguments.as_slice() else {
        anyhow::bail!("usage: p2psip-contract SERVICE ADDRESS FOLDER [IDENTITY]");
    };
    let mut services = Service::ALL.into_iter();
    let service = services
        .find(|known| format!("{known:?}") == *service)
        .context("no such service")?;
    let identity = identity
        .first()
        .map(|folder| ComponentIdentity::load(Path::new(folder)))
        .transpose()?;
    let mut terminated = signal(SignalKind::terminate())?;

    let component = Component::start(service, Path::new(folder)).await?;
    let listener = Listener::bind(&address.parse()?, identity.as_ref()).await?;
    println!("{}", listener.address());
    let serving = tokio::spawn(component.served().serve(listener));
    tokio::select! {
        _ = terminated.recv() => {}
        _ = orphaned() => {}
    }
    component.shutdown().await?;
    Ok(serving.await??)
}

/// Whoever started this is gone.
async fn orphaned() {
    let mut input = tokio::io::stdin();
    // It is never written to; its end and its failure mean the same.
    let _ = input.read(&mut [0; 1]).await;
}
