//! Nodes that are there for long: renewed, backed up, and back after their time was over.

use super::*;

#[tokio::test]
async fn a_peer_renews_with_its_certificate_and_a_stranger_does_not() {
    let (world, other) = (World::new(8).await, World::new(9).await);
    let folder = world.folder("peer");
    let known = peer(&folder, &world.token("one").await).await.unwrap();
    let renewed = renew::peer(&folder, When::DueAt(now_ms() + 31 * DAY_MS))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(renewed.node_id(), known.node_id());
    // A node of another overlay does not even finish the handshake.
    let stranger = peer(&other.folder("peer"), &other.token("one").await).await.unwrap();
    let client = Client::of(known.document.document(), Some(&stranger.signer)).unwrap();
    let server = Server::of(&world.url).unwrap();
    let refused = client
        .post(&server, "/.well-known/p2psip/renew", Vec::new())
        .await
        .unwrap_err();
    assert!(
        matches!(refused, HttpsError::Tls { .. } | HttpsError::Http { .. }),
        "{refused}"
    );
    // Nor does anybody without a certificate get one.
    let client = Client::of(known.document.document(), None).unwrap();
    let refused = client
        .post(&server, "/.well-known/p2psip/renew", Vec::new())
        .await
        .unwrap_err();
    assert!(matches!(refused, HttpsError::Refused { .. }), "{refused}");
}

#[tokio::test]
async fn certificates_are_renewed_when_somebody_wants_it() {
    let world = World::new(11).await;
    let token = world.token("one").await;
    let folders = [world.folder("peer"), world.folder("edge")];
    peer(&folders[0], &token).await.unwrap();
    edge(&folders[1], &token).await.unwrap();
    for (folder, names) in folders.iter().zip([&["peer"][..], &["link", "signer"]]) {
        let files: Vec<PathBuf> = names.iter().map(|name| folder.join(format!("{name}.der"))).collect();
        let read = || files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>();
        let before = read();
        let renewed = renew_now(folder).await.unwrap();
        assert_eq!(renewed.iter().map(|(path, _)| path.clone()).collect::<Vec<_>>(), files);
        for ((old, new), (_, told)) in before.iter().zip(read()).zip(&renewed) {
            assert_ne!(*old, new);
            assert_eq!(told.der(), &new);
        }
    }
    assert!(renew_now(&world.folder("nobody")).await.unwrap().is_empty());
}

/// A component that tells when it takes over what is in its folder.
struct Running(tokio::sync::mpsc::Sender<NodeId>, Option<Arc<SignedDocument>>);

impl Shows for Running {
    const WHOSE: &'static str = "peer";
    const CERTIFICATES: &'static [&'static str] = &[PEER];

    async fn renew(_: &Path) -> Result<(), EnrollError> {
        Ok(())
    }

    async fn document(&self, _: Arc<SignedDocument>) -> Option<Arc<SignedDocument>> {
        self.1.clone()
    }

    async fn take_over(&self, folder: &Path) -> Result<(), RenewError> {
        let renewed = PeerCredentials::load(folder, now_ms())
            .map_err(EnrollError::from)?
            .unwrap();
        self.0.send(renewed.node_id()).await.unwrap();
        Ok(())
    }
}

#[tokio::test]
async fn a_running_component_takes_over_what_somebody_else_has_renewed() {
    let world = World::new(12).await;
    let folder = world.folder("peer");
    let node_id = peer(&folder, &world.token("one").await).await.unwrap().node_id();
    let (takes, mut taken) = tokio::sync::mpsc::channel(1);
    let renewal = Renewal::of(folder.clone(), Running(takes, None));
    renew_now(&folder).await.unwrap();
    // From here on a minute is over as soon as there is nothing else to do.
    tokio::time::pause();
    assert_eq!(taken.recv().await, Some(node_id));
    renewal.shutdown(Duration::from_secs(1)).await.unwrap();
    // Once, and not again.
    assert_eq!(taken.recv().await, None);
}

/// Machine 1 is gone, and a service elsewhere has another address: the folder follows what the running component obeys.
#[tokio::test]
async fn services_are_looked_for_where_the_newest_document_says() {
    let world = World::new(16).await;
    let folder = world.folder("peer");
    peer(&folder, &world.token("one").await).await.unwrap();
    let mut next = world.off_line.document.document().clone();
    next.sequence += 1;
    next.enrollment_servers = vec!["https://127.17.0.16:1".to_owned(), world.url.clone()];
    let next = Arc::new(SignedDocument::sign(next, &world.off_line.signer));
    let mut foreign = next.document().clone();
    foreign.sequence += 1;
    foreign.overlay = "other.p2psip.test".to_owned();
    let files = Files::of(&folder);
    files
        .take_document(&SignedDocument::sign(foreign, &world.off_line.signer), now_ms())
        .unwrap();
    assert_eq!(files.document(now_ms()).unwrap().0.document().sequence, 1);

    let (takes, _taken) = tokio::sync::mpsc::channel(1);
    let renewal = Renewal::of(folder.clone(), Running(takes, Some(Arc::clone(&next))));
    let kept = async {
        while files.document(now_ms()).unwrap().0 != next {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), kept).await.unwrap();
    renewal.shutdown(Duration::from_secs(1)).await.unwrap();
    // One of the two does not answer.
    for _ in 0..4 {
        renew_now(&folder).await.unwrap();
    }
    // The service has an older one, which replaces nothing.
    assert_eq!(files.document(now_ms()).unwrap().0, next);
}

#[tokio::test]
async fn a_peer_keeps_the_newest_backup_and_nobody_else_gets_it() {
    let world = World::new(18).await;
    let token = world.token("one").await;
    let folders = [world.folder("peer"), world.folder("edge")];
    let peer = peer(&folders[0], &token).await.unwrap();
    let edge = edge(&folders[1], &token).await.unwrap();
    let kept = folders[0].join(backup::FILE);
    let first = async {
        loop {
            // The service writes its first in the background.
            if let Some(header) = backup::fetch(&folders[0], now_ms()).await.unwrap() {
                return header;
            }
        }
    };
    let header = tokio::time::timeout(Duration::from_secs(30), first).await.unwrap();
    assert_eq!((header.overlay.as_str(), header.sequence), (OVERLAY, 1));
    let written = fs::read(bootstrap::backup_file(&world.folder("bootstrap"))).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), written);
    // It has it already; a damaged one is replaced.
    assert_eq!(backup::fetch(&folders[0], now_ms()).await.unwrap(), None);
    fs::write(&kept, "damaged").unwrap();
    renew_now(&folders[0]).await.unwrap();
    assert_eq!(fs::read(&kept).unwrap(), written);
    let server = Server::of(&world.url).unwrap();
    for shown in [None, Some(&edge.edge.link)] {
        let client = Client::of(peer.document.document(), shown).unwrap();
        let refused = client.get(&server, "/.well-known/p2psip/backup").await;
        assert!(matches!(refused, Err(HttpsError::Refused { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn a_node_that_comes_too_late_keeps_its_node_id_with_a_new_token() {
    let (world, other) = (World::new(19).await, World::new(20).await);
    let folders = [world.folder("peer"), world.folder("edge")];
    let token = world.token("one").await;
    let known_peer = peer(&folders[0], &token).await.unwrap();
    let known_edge = edge(&folders[1], &token).await.unwrap();
    let token = world.token("two").await;
    // Whether they have ended makes no difference to the service.
    let late_peer = late::peer(&folders[0], &token).await.unwrap();
    let late_edge = late::edge(&folders[1], &token).await.unwrap();
    assert_eq!(late_peer.node_id(), known_peer.node_id());
    assert_eq!(late_edge.node_id(), known_edge.node_id());
    assert_ne!(late_peer.signer.certificates(), known_peer.signer.certificates());
    let key = |edge: &EdgeCredentials| edge.edge.delegated.certificate().public_key().to_vec();
    assert_ne!(key(&late_edge), key(&known_edge));
    let foreign = late::peer(&folders[0], &other.token("one").await).await.unwrap_err();
    assert!(matches!(foreign, EnrollError::ElsewhereAlready { .. }), "{foreign}");
}

#[tokio::test]
async fn an_edge_whose_signer_has_ended_and_a_document_that_has_are_mended_without_a_token() {
    let world = World::new(21).await;
    let folder = world.folder("edge");
    let known = edge(&folder, &world.token("one").await).await.unwrap();
    let files = Files::of(&folder);
    // The signer's certificate as it would be after 61 days, under whatever CA.
    let authority = enrollment_ca(&Key::generate().unwrap(), 0, Serial::generate().unwrap()).unwrap();
    let subject = Subject {
        key: &known.edge.delegated.key().public(),
        node_id: known.node_id(),
        overlay: OVERLAY,
        user: None,
    };
    let ended = authority
        .issue(Profile::DelegatedSigner, &subject, 0, Serial::generate().unwrap())
        .unwrap();
    files.write("signer.der", ended.der()).unwrap();
    let found = EdgeCredentials::load(&folder, now_ms()).unwrap_err();
    assert!(matches!(found, CredentialsError::Ended { .. }), "{found}");
    let mut over = world.off_line.document.document().clone();
    over.expiration_ms = Some(now_ms() - 1);
    let over = SignedDocument::sign(over, &world.off_line.signer);
    files.write("document.xml", over.xml()).unwrap();
    let found = EdgeCredentials::load(&folder, now_ms()).unwrap_err();
    assert!(found.is_over() && found.to_string().contains("document.xml"), "{found}");
    mend(&folder).await.unwrap();
    let mended = EdgeCredentials::load(&folder, now_ms()).unwrap().unwrap();
    assert_eq!(mended.node_id(), known.node_id());
    assert_eq!(mended.document.xml(), world.off_line.document.xml());
}

#[tokio::test]
async fn a_certificate_that_is_not_valid_now_is_told_with_its_file() {
    let world = World::new(10).await;
    let folder = world.folder("peer");
    peer(&folder, &world.token("one").await).await.unwrap();
    let late = PeerCredentials::load(&folder, now_ms() + 91 * DAY_MS).unwrap_err();
    assert!(late.to_string().contains("peer.der"), "{late}");
    assert!(late.to_string().contains("p2psip join --token-file"), "{late}");
    assert_eq!(Failure::from(late).code(), ExitCode::Credentials);
    // A clock that is an hour or two days behind does no harm: certificates begin before they are issued.
    for behind_ms in [3_600_000, 2 * DAY_MS] {
        assert!(PeerCredentials::load(&folder, now_ms() - behind_ms).is_ok());
    }
    let early = PeerCredentials::load(&folder, now_ms() - 3 * DAY_MS).unwrap_err();
    assert!(early.to_string().contains("clock"), "{early}");
    assert_eq!(Failure::from(early).code(), ExitCode::Credentials);
}
