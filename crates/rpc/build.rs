//! Compiles the contracts of `/proto` with protox, so that no system protoc is needed.

use std::path::{Path, PathBuf};

use prost::Message as _;

const CONTRACTS: [&str; 4] = [
    "p2psip/bootstrap/v1/bootstrap.proto",
    "p2psip/overlay/v1/overlay.proto",
    "p2psip/sip_edge/v1/sip_edge.proto",
    "p2psip/storage/v1/storage.proto",
];

/// Messages that carry a secret, and the ones that contain them: `lib.rs` gives them a Debug that shows nothing.
const SECRET: [&str; 8] = [
    ".p2psip.bootstrap.v1.EnrollRequest",
    ".p2psip.bootstrap.v1.EnrollRequest.credential",
    ".p2psip.bootstrap.v1.EnrollResponse",
    ".p2psip.bootstrap.v1.FetchRecordKeysResponse",
    ".p2psip.bootstrap.v1.Password",
    ".p2psip.bootstrap.v1.RecordKey",
    ".p2psip.bootstrap.v1.PutUserRequest",
    ".p2psip.bootstrap.v1.CreateTokenResponse",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../proto");
    println!("cargo::rerun-if-changed={}", include.display());

    let descriptors = protox::Compiler::new([&include])?
        .include_source_info(true)
        .open_files(CONTRACTS)?
        .file_descriptor_set();
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(out.join("contracts.bin"), descriptors.encode_to_vec())?;

    // The transport is `rpc::Channel`; a generated `connect` would go round its rules.
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".")
        .skip_debug(SECRET)
        .compile_fds(descriptors)?;
    Ok(())
}
