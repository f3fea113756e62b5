//! The kind `webhook` against a service that goes away, comes back, is not well, and refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use witmq_e2e::client::{connect, options};
use witmq_e2e::sinks::{apply, publish, sink, wait_for_sink};
use witmq_e2e::site::{Asked, Said, Site, ok, status};
use witmq_e2e::{Broker, PATIENCE};

const CHAIN: &str = "from = \"out/#\"\n[[step]]\nsink = \"hook\"\n";
const RETRY: &str = "retry = { first_ms = 20, longest_ms = 100 }\n";

/// A service that takes everything.
fn takes(taken: Sender<u64>) -> impl Fn(&Asked) -> Said + Send + Sync {
    move |asked| {
        assert_eq!(
            (asked.method.as_str(), asked.path.as_str()),
            ("POST", "/in?x=1")
        );
        assert_eq!(asked.header("authorization"), "Bearer let me in");
        assert_eq!(asked.header("x-where"), "here");
        let body = asked.json();
        for one in body.as_array().unwrap() {
            taken.send(one["payload"].as_u64().unwrap()).unwrap();
        }
        ok("thanks")
    }
}

/// The next numbers up to this one. What came twice came before.
fn in_order(broker: &Broker, taken: &Receiver<u64>, next: &mut u64, end: u64) {
    while *next < end {
        let Ok(number) = taken.recv_timeout(PATIENCE) else {
            panic!("{next} does not come: {}", sink(broker, "hook"));
        };
        assert!(number <= *next, "{number} came before {next}");
        *next = (*next).max(number + 1);
    }
}

#[tokio::test]
async fn order_is_kept_and_nothing_lost_whoever_goes_away() {
    let (taken, comes) = channel();
    let site = Site::start(takes(taken.clone()));
    let address = site.address;
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(secret.path(), "let me in\n").unwrap();
    let mut broker = Broker::serve_open(&format!("[secrets]\nhook = {:?}\n", secret.path()));
    let text = format!(
        "kind = \"webhook\"\nurl = \"http://{address}/in?x=1\"\nbearer = {{ secret = \"hook\" }}\n\
         headers = {{ X-Where = \"here\" }}\nbatch = {{ messages = 20 }}\n{RETRY}"
    );
    drop(apply(&broker, "hook", &text));
    broker.chain("out", CHAIN);
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    let mut next = 0;
    publish(&mut client, "out/numbers", 0..100).await;
    in_order(&broker, &comes, &mut next, 100);

    drop(site);
    publish(&mut client, "out/numbers", 100..200).await;
    wait_for_sink(&broker, "hook", |sink| sink["state"] == "failing");
    broker.kill_9_and_start_again();
    wait_for_sink(&broker, "hook", |sink| sink["state"] == "failing");

    // It is back, and not well yet.
    let failures = AtomicU32::new(0);
    let well = takes(taken);
    let site = Site::start_at(address, move |asked| {
        match failures.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => (503, "Retry-After: 1".to_owned(), b"later".to_vec()),
            _ => well(asked),
        }
    });
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "out/numbers", 200..300).await;
    in_order(&broker, &comes, &mut next, 300);
    wait_for_sink(&broker, "hook", |sink| sink["queued_messages"] == 0);
    let fares = sink(&broker, "hook");
    assert_eq!(
        (&fares["state"], &fares["last_error"]),
        (&"healthy".into(), &"the service said 503: later".into())
    );
    drop(site);
}

#[tokio::test]
async fn what_the_service_refuses_is_a_dead_letter_and_the_rest_arrives() {
    let (taken, comes) = channel();
    let site = Site::start(move |asked| {
        let text = String::from_utf8(asked.body.clone()).unwrap();
        if text.contains('3') {
            return status(422, "no threes");
        }
        taken
            .send((asked.header("mqtt-topic").to_owned(), text))
            .unwrap();
        ok("")
    });
    let broker = Broker::serve_open("");
    let open = r##"{"anonymous":"allow","acl":[{"allow":true,"topics":["#","$dead-letter/#"]}]}"##;
    drop(broker.ok(&["plugin", "config", "auth-file", open], ""));
    let text = format!(
        "kind = \"webhook\"\nurl = \"{}/in\"\nbody = \"payload\"\n{RETRY}",
        site.url()
    );
    drop(apply(&broker, "hook", &text));
    broker.chain("out", CHAIN);
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    client
        .subscribe("$dead-letter/#", rumqttc::v5::mqttbytes::QoS::AtLeastOnce)
        .await;
    publish(&mut client, "out/a%ü", 1..6).await;
    let letter = client.message().await;
    assert_eq!(
        (&letter.topic[..], &letter.payload[..]),
        (&b"$dead-letter/sink/hook"[..], &b"3"[..])
    );
    let user = letter.properties.unwrap().user_properties;
    assert!(
        user.contains(&("topic".into(), "out/a%ü".into())),
        "{user:?}"
    );
    assert!(
        user.contains(&("reason".into(), "the service said 422: no threes".into())),
        "{user:?}"
    );
    let came: Vec<_> = (0..4)
        .map(|_| comes.recv_timeout(PATIENCE).unwrap())
        .collect();
    let wanted = ["1", "2", "4", "5"].map(|text| ("out/a%25%C3%BC".to_owned(), text.to_owned()));
    assert_eq!(came, wanted);
    wait_for_sink(&broker, "hook", |sink| {
        sink["dead"] == 1 && sink["delivered"] == 4
    });
}

#[tokio::test]
async fn tls_is_spoken_with_who_is_trusted_and_nobody_else() {
    // The certificate that `witmq dev` makes for this machine, and the authority that vouches for it.
    let maker = Broker::dev(&["--no-demo"]);
    let folder = maker.folder().join(".witmq");
    let certificates = CertificateDer::pem_file_iter(folder.join("cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(certificates.map(Result::unwrap).collect(), key)
        .unwrap();
    let (taken, comes) = channel();
    let site = Site::start_tls(Arc::new(server), move |asked| {
        taken
            .send(asked.json()[0]["payload"].as_u64().unwrap())
            .unwrap();
        ok("")
    });
    let broker = Broker::serve_open(&format!("[secrets]\nca = {:?}\n", folder.join("ca.pem")));
    let url = format!("https://localhost:{}/in", site.address.port());
    let trusting =
        format!("kind = \"webhook\"\nurl = \"{url}\"\nca = {{ secret = \"ca\" }}\n{RETRY}");
    let careless = format!("kind = \"webhook\"\nurl = \"{url}\"\n{RETRY}");
    let path = broker.folder().join("hook.toml");
    std::fs::write(&path, careless).unwrap();
    drop(broker.fails(&["sink", "check", path.to_str().unwrap()], 4));
    drop(apply(&broker, "hook", &trusting));
    broker.chain("out", CHAIN);
    let mut client = connect(options(broker.address("tcp"), "p")).await.unwrap();
    publish(&mut client, "out/numbers", 7..8).await;
    assert_eq!(comes.recv_timeout(PATIENCE), Ok(7));
}
