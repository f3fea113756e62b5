//! Requests of plugins to other services: grants, addresses, limits, TLS, and services that never answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::service::{Service, Stream, ok};
use common::{
    Around, NOBODY, config, granted, guest, http_guest, install, message, mode, start_with,
    wait_until,
};
use rustls::pki_types::PrivateKeyDer;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use witmq_broker::ports::{ControlError, PluginControl, Transform};
use witmq_runtime::{Grants, HttpLimits, Runtime, RuntimeConfig, ShardPlugins};

/// A broker with the plugin that sends requests, and the hosts granted to it.
struct Bench {
    runtime: Runtime,
    hooks: ShardPlugins,
    around: Around,
}

impl Bench {
    fn start(hosts: &[&str], http: HttpLimits) -> Self {
        Self::start_with(hosts, RuntimeConfig { http, ..config() })
    }

    fn start_with(hosts: &[&str], mut config: RuntimeConfig) -> Self {
        let grants = Grants {
            http: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            ..granted()
        };
        config.grants.insert("h".to_owned(), grants);
        let (runtime, around) = start_with(config);
        install(&runtime, "h", http_guest(), None).unwrap();
        let hooks = runtime.shard_hooks(0);
        Self {
            runtime,
            hooks,
            around,
        }
    }

    /// Lets the plugin send something; does not wait.
    fn order(&mut self, order: &str) {
        let order = Arc::new(message(order));
        self.hooks.deliver("h", NOBODY, &order).unwrap();
    }

    /// What came of it.
    fn fetch(&mut self, order: &str) -> String {
        let before = self.around.on("made/by/http").len();
        self.order(order);
        wait_until("an answer", || {
            self.around.on("made/by/http").len() > before
        });
        self.around.on("made/by/http").pop().unwrap()
    }

    fn number(&self, wanted: &str) -> f64 {
        let all = self.runtime.list();
        let plugin = all.iter().find(|plugin| plugin.name == "h").unwrap();
        let mut numbers = plugin.numbers.iter();
        numbers
            .find(|(name, _)| name == wanted)
            .map_or(0.0, |(_, value)| *value)
    }
}

/// The bounds that the plugin ran into.
fn hit(bench: &Bench) -> Vec<(&'static str, u64)> {
    common::limited(&bench.runtime, "h")
}

fn get(url: &str) -> String {
    format!("{{\"url\":\"{url}\"}}")
}

#[test]
fn a_plugin_with_http_needs_a_host_granted_and_waits_beside_the_shards() {
    let (runtime, _) = start_with(RuntimeConfig {
        grants: [("h".to_owned(), granted())].into(),
        ..config()
    });
    let refused = install(&runtime, "h", http_guest(), None).unwrap_err();
    let ControlError::Invalid { code, hint, .. } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(code, "not-granted");
    assert!(
        hint.unwrap()
            .contains("witmq plugin grants h --add http:HOST")
    );
    runtime
        .change_grants("h", &["http:api.example.com".to_owned()], &[])
        .unwrap();
    let info = install(&runtime, "h", http_guest(), None).unwrap();
    assert!(info.is_effectful && info.capabilities.contains(&"http".to_owned()));
    let lines = runtime.log("h", 0).unwrap();
    assert!(
        lines.iter().any(|line| line.text == "it can print"),
        "{lines:?}"
    );
}

#[test]
fn granted_hosts_are_reached_and_others_are_denied_counted_and_logged() {
    let service = Service::start(|head| ok(head.lines().next().unwrap()));
    let port = service.at.port();
    let granted = format!("127.0.0.1:{port}");
    let hosts = [granted.as_str(), "localhost", "127.1", "127.2/private"];
    let mut bench = Bench::start(&hosts, HttpLimits::default());
    assert_eq!(
        bench.fetch(&get(&format!("http://127.0.0.1:{port}/a?b"))),
        "200 GET /a?b HTTP/1.1"
    );
    assert_eq!(
        bench.fetch(&get(&format!("http://localhost:{port}"))),
        "200 GET / HTTP/1.1"
    );
    assert_eq!(service.hits(), 2);
    // A name that leads to this machine; another port, another way to write the address, another host.
    for host in [
        format!("127.1:{port}"),
        format!("127.2:{port}"),
        format!("127.0.0.1:{}", port.wrapping_add(1)),
        format!("[::ffff:127.0.0.1]:{port}"),
        "example.com".to_owned(),
    ] {
        assert_eq!(
            bench.fetch(&get(&format!("http://{host}/"))),
            "Denied",
            "{host}"
        );
    }
    assert_eq!(service.hits(), 2, "nothing was sent");
    assert_eq!(bench.number("http_requests"), 4.0);
    assert_eq!(bench.number("http_denied"), 5.0);
    let lines = bench.runtime.log("h", 0).unwrap();
    let has = |part: &str| lines.iter().any(|line| line.text.contains(part));
    assert!(has("witmq plugin grants h --add http:example.com:80"));
    assert!(has("may not send requests to `127.1` at 127.0.0.1"));
}

#[test]
fn nothing_follows_a_redirect() {
    let service = Service::start(|_| {
        b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_vec()
    });
    let mut bench = Bench::start(&[&service.at.to_string()], HttpLimits::default());
    assert_eq!(
        bench.fetch(&get(&format!("http://{}/", service.at))),
        "302 "
    );
    assert_eq!(service.hits(), 1);
}

#[test]
fn bodies_are_cut_off_at_their_limits_and_not_before() {
    let service = Service::start(|head| {
        ok(&"y".repeat(match head.contains("/long") {
            true => 1001,
            false => 1000,
        }))
    });
    let limits = HttpLimits {
        response_bytes: 1000,
        request_bytes: 2000,
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&[&service.at.to_string()], limits);
    let url = format!("http://{}", service.at);
    assert_eq!(bench.fetch(&get(&url)), "200 1000 bytes");
    assert_eq!(bench.number("http_too_large"), 0.0);
    let long = bench.fetch(&get(&format!("{url}/long")));
    assert!(long.contains("TooLarge") || long.contains("1000"), "{long}");
    assert_eq!(bench.number("http_too_large"), 1.0);
    assert_eq!(hit(&bench), [("plugin_http_response_bytes", 1)]);
    let post = |bytes: u32| format!("{{\"url\":\"{url}\",\"bytes\":{bytes}}}");
    assert_eq!(bench.fetch(&post(2000)), "200 1000 bytes");
    let long = bench.fetch(&post(2001));
    assert!(!long.starts_with("200"), "{long}");
    assert_eq!(bench.number("http_too_large"), 2.0);
    assert!(hit(&bench).contains(&("plugin_http_request_bytes", 1)));
}

#[test]
fn requests_are_counted_per_call_and_at_once() {
    let service = Service::start(|_| ok("fine"));
    let limits = HttpLimits {
        requests: 3,
        concurrent: 1,
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&[&service.at.to_string()], limits);
    let times = |times: u32| format!("{{\"url\":\"http://{}\",\"times\":{times}}}", service.at);
    // One after the other is one at once; each call has its own three.
    assert_eq!(bench.fetch(&times(3)), "200 fine");
    assert_eq!(bench.fetch(&times(3)), "200 fine");
    assert_eq!(bench.number("http_too_many"), 0.0);
    assert!(bench.fetch(&times(4)).contains("Failed"));
    assert_eq!(bench.number("http_too_many"), 1.0);
    assert_eq!(hit(&bench), [("plugin_http_requests", 1)]);
    let none = HttpLimits {
        concurrent: 0,
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&[&service.at.to_string()], none);
    assert!(bench.fetch(&times(1)).contains("Failed"));
    assert_eq!(bench.number("http_too_many"), 1.0);
    assert_eq!(hit(&bench), [("plugin_http_concurrent", 1)]);
}

#[test]
fn a_connection_serves_the_next_request_too_unless_none_may_wait_or_it_was_closed() {
    let service = Service::lasting();
    let (hosts, base) = ([&*service.at.to_string()], format!("http://{}", service.at));
    let mut bench = Bench::start(&["example.com"], HttpLimits::default());
    let grant = [format!("http:{}", service.at)];
    bench.runtime.change_grants("h", &grant, &[]).unwrap();
    assert_eq!(bench.fetch(&get(&base)), "200 1.1");
    assert_eq!(bench.fetch(&get(&base)), "200 1.2");
    assert_eq!(bench.number("http_reused"), 1.0);
    let several = format!("{{\"url\":\"{base}\",\"times\":3}}");
    assert_eq!(bench.fetch(&several), "200 1.5", "three in one call");
    assert_eq!(bench.fetch(&get(&format!("{base}/last"))), "200 1.6");
    wait_until("the end of the connection", || {
        service.ended.load(Ordering::SeqCst) == 1
    });
    assert_eq!(bench.fetch(&get(&base)), "200 2.1");
    assert_eq!(bench.number("http_requests"), 7.0);
    assert_eq!(hit(&bench), []);
    // Grants count when it is used again, not only when it was made.
    bench.runtime.change_grants("h", &[], &grant).unwrap();
    let refused = bench.fetch(&get(&base));
    assert!(!refused.starts_with("200"), "{refused}");
    let none = HttpLimits {
        idle: 0,
        ..HttpLimits::default()
    };
    let before = service.hits();
    let mut bench = Bench::start(&hosts, none);
    for number in 1..=2 {
        let expected = format!("200 {}.1", before + number);
        assert_eq!(bench.fetch(&get(&base)), expected);
    }
    assert_eq!((bench.number("http_reused"), hit(&bench)), (0.0, vec![]));
}

#[test]
fn connections_that_wait_are_bounded_in_number() {
    let services = [Service::lasting(), Service::lasting()];
    let hosts = services.each_ref().map(|service| service.at.to_string());
    let one = HttpLimits {
        idle: 1,
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&hosts.each_ref().map(String::as_str), one);
    let [first, second] = hosts.each_ref().map(|host| get(&format!("http://{host}")));
    assert_eq!(bench.fetch(&first), "200 1.1");
    assert_eq!(bench.fetch(&first), "200 1.2");
    assert_eq!(hit(&bench), []);
    assert_eq!(bench.fetch(&second), "200 1.1");
    wait_until("the older one to be closed", || {
        hit(&bench) == [("plugin_http_idle", 1)]
    });
    assert_eq!(bench.fetch(&second), "200 1.2");
    assert_eq!(bench.fetch(&first), "200 2.1");
}

#[test]
fn the_head_of_an_answer_is_bounded_on_both_sides() {
    let service = Service::start(|head| {
        let spare = match head.contains("/long") {
            true => 9000,
            false => 7000,
        };
        let name = format!("HTTP/1.1 200 OK\r\nx: {}\r\n", "y".repeat(spare));
        let rest = "content-length: 4\r\nconnection: close\r\n\r\nfine";
        [name.as_bytes(), rest.as_bytes()].concat()
    });
    let limits = HttpLimits {
        head_bytes: 8192,
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&[&service.at.to_string()], limits);
    assert_eq!(
        bench.fetch(&get(&format!("http://{}", service.at))),
        "200 fine"
    );
    assert_eq!(hit(&bench), []);
    let long = bench.fetch(&get(&format!("http://{}/long", service.at)));
    assert!(!long.starts_with("200"), "{long}");
    assert_eq!(hit(&bench), [("plugin_http_head_bytes", 1)]);
}

#[test]
fn handles_of_a_plugin_that_waits_are_bounded_on_both_sides() {
    let service = Service::start(|_| ok("fine"));
    let url = get(&format!("http://{}", service.at));
    let with = |handles: usize| {
        let config = RuntimeConfig {
            handles,
            ..config()
        };
        Bench::start_with(&[&service.at.to_string()], config)
    };
    let mut bench = with(32);
    for _ in 0..100 {
        assert_eq!(bench.fetch(&url), "200 fine", "each call closes its own");
    }
    assert_eq!(hit(&bench), []);
    let mut bench = with(3);
    bench.order(&url);
    wait_until("the end of the instance", || {
        let all = hit(&bench);
        all.iter().any(|(limit, _)| *limit == "plugin_handles")
    });
}

#[test]
fn who_never_answers_ends_at_the_timeout_and_delays_nobody() {
    let (_silent, at) = Service::silent();
    let config = RuntimeConfig {
        timeout: Duration::from_secs(2),
        worker_threads: 1,
        ..config()
    };
    let mut bench = Bench::start_with(&[&at.to_string()], config);
    install(&bench.runtime, "g", guest(), mode("pass")).unwrap();
    let failures = |bench: &Bench| {
        let all = bench.runtime.list();
        let plugin = all.iter().find(|plugin| plugin.name == "h").unwrap();
        let deadline = plugin.failures.iter().find(|(kind, _)| *kind == "deadline");
        deadline.unwrap().1
    };
    bench.order(&get(&format!("http://{at}/")));
    wait_until("the request", || bench.number("http_requests") >= 1.0);
    // The only worker serves others, and so does the shard.
    for number in 0..100 {
        let given = Arc::new(message(&number.to_string()));
        bench.hooks.deliver("g", NOBODY, &given).unwrap();
        common::call(&mut bench.hooks, "x").unwrap();
    }
    wait_until("the others", || bench.around.count("delivered") == 100);
    wait_until("the end of the call", || failures(&bench) >= 1);
    assert_eq!(bench.around.on("made/by/http").len(), 0);
}

#[test]
fn an_answer_that_drips_ends_with_the_time_of_its_request() {
    let (drips, at) = Service::dripping();
    let mut bench = Bench::start(&[&at.to_string()], HttpLimits::default());
    let began = Instant::now();
    let order = format!("{{\"url\":\"http://{at}/\",\"timeout_ms\":300}}");
    assert_eq!(bench.fetch(&order), "Timeout");
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(300), "{took:?}");
    // Whoever wants its beginning only has it before that.
    let order = format!("{{\"url\":\"http://{at}/\",\"timeout_ms\":3000,\"beginning\":3}}");
    assert_eq!(bench.fetch(&order), "200 xxx");
    drop(drips);
}

#[test]
fn a_connection_has_to_be_there_in_time() {
    let (_silent, at) = Service::silent();
    let limits = HttpLimits {
        connect: Duration::from_millis(100),
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&[&at.to_string()], limits);
    assert_eq!(bench.fetch(&get(&format!("https://{at}/"))), "Timeout");
    assert_eq!(bench.number("http_connect_timeouts"), 1.0);
    assert_eq!(hit(&bench), [("plugin_http_connect_ms", 1)]);
}

/// A service with TLS, and its certificate in a file.
fn secure(folder: &std::path::Path) -> (Service, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let file = folder.join("ca.pem");
    std::fs::write(&file, made.cert.pem()).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let tls = Arc::new(tls);
    let wrap = move |stream| -> Box<dyn Stream> {
        let connection = rustls::ServerConnection::new(tls.clone()).unwrap();
        Box::new(rustls::StreamOwned::new(connection, stream))
    };
    (Service::wrapped(|_| ok("secret"), wrap), file)
}

#[test]
fn tls_trusts_whom_the_operator_names_and_nobody_unknown() {
    let folder = tempfile::tempdir().unwrap();
    let (service, ca) = secure(folder.path());
    let url = format!("https://localhost:{}/", service.at.port());
    let mut bench = Bench::start(&["localhost"], HttpLimits::default());
    let refused = bench.fetch(&get(&url));
    assert!(refused.contains("TlsCertificateError"), "{refused}");
    let trusting = |ca| HttpLimits {
        ca: Some(ca),
        ..HttpLimits::default()
    };
    let mut bench = Bench::start(&["localhost"], trusting(ca));
    assert_eq!(bench.fetch(&get(&url)), "200 secret");
    let config = RuntimeConfig {
        http: trusting(folder.path().join("none.pem")),
        ..config()
    };
    let (runtime, _) = start_with(config);
    assert_eq!(
        common::code(install(&runtime, "h", http_guest(), None)),
        "bad-ca"
    );
}
