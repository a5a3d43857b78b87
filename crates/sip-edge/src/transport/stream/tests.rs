use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use sip_core::flow::{FlowKind, Transport};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;

use super::super::half::Memory;
use super::*;

const OPTIONS: &str = "OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bKx\r\nFrom: <sip:c@b>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: 1\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
const OK: &str = "SIP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n";

/// A connection with both its ends.
struct Scene {
    far: DuplexStream,
    arrived: mpsc::Receiver<Arrival>,
    outgoing: mpsc::Sender<Bytes>,
    cut: CancellationToken,
    task: JoinHandle<End>,
}

impl Scene {
    fn new(rules: Rules) -> Self {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (arrivals, arrived) = mpsc::channel(4);
        let (outgoing, queue) = mpsc::channel(rules.queue);
        let address = "127.0.0.1:5060".parse().unwrap();
        let cut = CancellationToken::new();
        let carried = Carried {
            flow: Flow {
                transport: Transport::Tcp,
                local: address,
                remote: address,
                connection: None,
                kind: FlowKind::Phone,
            },
            rules,
            outgoing: queue,
            arrivals,
            cut: cut.clone(),
            half: Memory::default().share(Arc::new(AtomicBool::new(false))),
        };
        Self {
            far,
            arrived,
            outgoing,
            cut,
            task: tokio::spawn(carry(near, carried)),
        }
    }

    async fn says(&mut self, text: &str) {
        self.far.write_all(text.as_bytes()).await.unwrap();
    }

    async fn hears(&mut self, text: &str) {
        let mut heard = vec![0; text.len()];
        self.far.read_exact(&mut heard).await.unwrap();
        assert_eq!(String::from_utf8(heard).unwrap(), text);
    }

    async fn arrives(&mut self) {
        assert!(matches!(self.arrived.recv().await, Some(Arrival::Message { .. })));
    }

    async fn answers(&mut self) {
        self.outgoing.send(Bytes::from_static(OK.as_bytes())).await.unwrap();
    }

    async fn is_closed(&mut self) {
        assert_eq!(self.far.read(&mut [0; 8]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn messages_pass_both_ways_and_pings_are_answered() {
    let mut scene = Scene::new(PHONE);
    scene.says(&format!("\r\n\r\n{OPTIONS}")).await;
    scene.arrives().await;
    scene.hears("\r\n").await;
    scene.outgoing.send(Bytes::from_static(b"hello")).await.unwrap();
    scene.hears("hello").await;
    let Scene { outgoing, task, .. } = scene;
    drop(outgoing);
    assert!(matches!(task.await.unwrap(), End::Released));
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_pong_ends() {
    let mut scene = Scene::new(NODE);
    scene.hears("\r\n\r\n").await;
    scene.says("\r\n").await;
    scene.hears("\r\n\r\n").await;
    assert!(matches!(scene.task.await.unwrap(), End::Silent));
}

#[tokio::test(start_paused = true)]
async fn a_framing_error_still_brings_what_is_due() {
    let without_length = OPTIONS.replace("Content-Length: 0\r\n", "");
    let mut scene = Scene::new(PHONE);
    scene.says(&format!("{OPTIONS}{without_length}{OPTIONS}")).await;
    scene.arrives().await;
    scene.arrives().await;
    scene.answers().await;
    scene.answers().await;
    scene.hears(OK).await;
    scene.hears(OK).await;
    scene.is_closed().await;
    // What stood behind it is not read.
    assert!(scene.arrived.try_recv().is_err());
    drop(scene.far);
    assert!(matches!(scene.task.await.unwrap(), End::Frame(FrameError::Lost)));
}

#[tokio::test(start_paused = true)]
async fn what_is_due_is_not_waited_for_without_end() {
    let mut scene = Scene::new(PHONE);
    scene.says(&format!("{OPTIONS}no sip\r\n\r\n")).await;
    scene.arrives().await;
    scene.is_closed().await;
    assert!(matches!(scene.task.await.unwrap(), End::Frame(FrameError::Head(_))));
}

#[tokio::test(start_paused = true)]
async fn a_far_end_that_sends_no_more_still_gets_its_answer() {
    let mut scene = Scene::new(PHONE);
    scene.says(OPTIONS).await;
    scene.far.shutdown().await.unwrap();
    scene.arrives().await;
    scene.answers().await;
    scene.hears(OK).await;
    scene.is_closed().await;
    assert!(matches!(scene.task.await.unwrap(), End::Closed));
}

#[tokio::test(start_paused = true)]
async fn nothing_and_half_a_message_end_a_phones_connection() {
    for beginning in ["", "\r\n\r\n", "OPTIONS sip:a@b SIP/2.0\r\nVia"] {
        let begin = Instant::now();
        let mut scene = Scene::new(PHONE);
        scene.says(beginning).await;
        assert!(matches!(scene.task.await.unwrap(), End::Late), "{beginning:?}");
        assert!(begin.elapsed() >= PHONE.first.unwrap());
    }
    let begin = Instant::now();
    let mut scene = Scene::new(PHONE);
    scene.says(&format!("{OPTIONS}OPTI")).await;
    scene.arrives().await;
    scene.answers().await;
    assert!(matches!(scene.task.await.unwrap(), End::Late));
    assert!(begin.elapsed() >= PHONE.message);
}

#[tokio::test(start_paused = true)]
async fn a_phone_that_sent_a_message_may_be_silent() {
    let mut scene = Scene::new(PHONE);
    scene.says(OPTIONS).await;
    scene.arrives().await;
    tokio::time::advance(Duration::from_secs(3600)).await;
    scene.says(OPTIONS).await;
    scene.arrives().await;
    scene.cut.cancel();
    assert!(matches!(scene.task.await.unwrap(), End::Cut));
}
