//! Where components come from: files, HTTPS and OCI registries, pinned by digest and signed by those who may.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use witmq_e2e::site::{Said, Site, ok, status};
use witmq_e2e::{Broker, component};

fn not_there() -> Said {
    status(404, "")
}

fn digest(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn hello() -> Vec<u8> {
    std::fs::read(component("hello_transform")).unwrap()
}

/// The certificate that `dev` made for this machine.
fn server_of(folder: &Path) -> Arc<ServerConfig> {
    let file = |name: &str| folder.join(".witmq").join(name);
    let chain = CertificateDer::pem_file_iter(file("cert.pem")).unwrap();
    let chain: Vec<_> = chain.map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_file(file("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(config)
}

/// Where the version that serves came from.
fn origin(broker: &Broker, name: &str) -> String {
    let info: serde_json::Value =
        serde_json::from_str(&broker.ok(&["plugin", "get", name], "")).unwrap();
    info["active"]["origin"].as_str().unwrap().to_owned()
}

#[test]
fn a_component_comes_by_https_from_who_is_trusted_and_as_it_is_pinned() {
    let broker = Broker::dev(&["--no-demo"]);
    let wasm = hello();
    let site = Site::start_tls(server_of(broker.folder()), |asked| {
        match asked.path.as_str() {
            "/hello_transform.wasm" => ok(hello()),
            _ => not_there(),
        }
    });
    let url = format!(
        "https://localhost:{}/hello_transform.wasm",
        site.address.port()
    );
    let said = broker.fails(&["plugin", "install", &url], 5);
    assert!(said.contains("certificate"), "{said}");
    let ca = broker.ca();
    let ca = ca.to_str().unwrap();
    let wrong = "0".repeat(64);
    let words = ["plugin", "install", &url, "--ca", ca, "--digest", &wrong];
    let said = broker.fails(&words, 4);
    assert!(
        said.contains(&digest(&wasm)) && said.contains("nothing was installed"),
        "{said}"
    );
    let good = format!("sha256:{}", digest(&wasm));
    let words = ["plugin", "install", &url, "--ca", ca, "--digest", &good];
    assert!(
        broker
            .ok(&words, "")
            .contains("hello-transform: version 1 serves")
    );
    assert_eq!(origin(&broker, "hello-transform"), url);
    let words = ["plugin", "install", "http://192.0.2.1/x.wasm"];
    assert!(broker.fails(&words, 4).contains("not encrypted"));
    let missing = url.replace("hello_", "");
    let said = broker.fails(&["plugin", "install", &missing, "--ca", ca], 1);
    assert!(said.contains("404"), "{said}");
    let said = broker.fails(&["plugin", "install", "ftp://x/y"], 2);
    assert!(said.contains("oci://"), "{said}");
}

/// A registry with one artefact, `acme/hello:1.0`, that gives tokens to everybody, and `acme/bad` with a blob that is not
/// what it says.
fn registry() -> Site {
    let wasm = hello();
    let blob = digest(&wasm);
    let manifest = format!(
        r#"{{"schemaVersion":2,"layers":[{{"mediaType":"application/wasm","digest":"sha256:{blob}"}}]}}"#
    );
    let name = digest(manifest.as_bytes());
    Site::start(move |asked| {
        let (path, authorization) = (asked.path.as_str(), asked.header("authorization"));
        if let Some(query) = path.strip_prefix("/token?") {
            assert_eq!(query, "service=test&scope=repository%3Aacme%2Fhello%3Apull");
            return ok(r#"{"token":"t0ken"}"#);
        }
        if authorization != "Bearer t0ken" && !path.contains("/bad/") {
            let challenge = "WWW-Authenticate: Bearer realm=\"http://REALM/token\",service=\"test\",scope=\"repository:acme/hello:pull\"";
            return (401, challenge.to_owned(), Vec::new());
        }
        let (_, rest) = path.split_once("/v2/acme/").unwrap();
        match rest.split_once('/').unwrap() {
            (_, "manifests/1.0") => ok(manifest.clone()),
            ("hello", rest) if *rest == format!("manifests/sha256:{name}") => ok(manifest.clone()),
            ("hello", rest) if *rest == format!("blobs/sha256:{blob}") => ok(wasm.clone()),
            ("bad", rest) if rest.starts_with("blobs/") => ok("something else"),
            ("hello", "manifests/none") => ok(r#"{"layers":[]}"#),
            _ => not_there(),
        }
    })
}

#[test]
fn a_component_comes_from_a_registry_and_is_what_its_digest_says() {
    let broker = Broker::dev(&["--no-demo"]);
    let inner = registry();
    // The challenge names the address, which is known only now.
    let to = inner.address;
    let outer = Site::start(move |asked| {
        let (path, authorization) = (&asked.path, asked.header("authorization"));
        let mut socket = std::net::TcpStream::connect(to).unwrap();
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nAuthorization: {authorization}\r\n\r\n"
        )
        .unwrap();
        let mut all = Vec::new();
        socket.read_to_end(&mut all).unwrap();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(all[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let status = lines
            .next()
            .unwrap()
            .split(' ')
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let header = lines.next().unwrap().replace("REALM", &to.to_string());
        (status, header, all[end + 4..].to_vec())
    });
    let place = format!("oci://{}/acme", outer.address);
    let said = broker.ok(&["plugin", "install", &format!("{place}/hello:1.0")], "");
    assert!(said.contains("hello: version 1 serves"), "{said}");
    let pinned = origin(&broker, "hello");
    assert!(
        pinned.starts_with(&format!("{place}/hello@sha256:")),
        "{pinned}"
    );
    assert!(
        inner
            .asked
            .try_iter()
            .any(|asked| asked.path.starts_with("/token"))
    );
    assert!(
        broker
            .ok(&["plugin", "install", &pinned], "")
            .contains("version 2")
    );
    for (artefact, code, expected) in [
        ("hello@sha256:".to_owned() + &"0".repeat(64), 3, "404"),
        ("hello:none".to_owned(), 4, "none of its layers"),
        ("bad:1.0".to_owned(), 4, "not what it is pinned to"),
        ("hello:2.0".to_owned(), 3, "404"),
    ] {
        let said = broker.fails(&["plugin", "install", &format!("{place}/{artefact}")], code);
        assert!(said.contains(expected), "{artefact}: {said}");
    }
    assert_eq!(origin(&broker, "hello"), pinned, "the old one serves");
}

fn openssl(folder: &Path, words: &[&str]) {
    let done = Command::new("openssl")
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(
        done.status.success(),
        "{}",
        String::from_utf8_lossy(&done.stderr)
    );
}

/// `good.key` and `other.key`, with their public halves in `.pem`.
fn make_keys(folder: &Path) {
    for key in ["good", "other"] {
        let private = format!("{key}.key");
        openssl(
            folder,
            &["genpkey", "-algorithm", "ed25519", "-out", &private],
        );
        let public = format!("{key}.pem");
        openssl(
            folder,
            &["pkey", "-in", &private, "-pubout", "-out", &public],
        );
    }
}

#[test]
fn only_signed_components_are_taken_where_keys_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    make_keys(folder.path());
    std::fs::write(at("hello.wasm"), hello()).unwrap();
    let sign = |key: &str, out: &str| {
        let words = [
            "pkeyutl",
            "-sign",
            "-rawin",
            "-inkey",
            key,
            "-in",
            "hello.wasm",
            "-out",
            out,
        ];
        openssl(folder.path(), &words);
    };
    sign("good.key", "good.sig");
    sign("other.key", "other.sig");
    let keys = format!("signing_keys = [{:?}]\n", at("good.pem").to_str().unwrap());
    let broker = Broker::serve_open(&keys);
    let path = at("hello.wasm");
    let path = path.to_str().unwrap();
    let said = broker.fails(&["plugin", "install", path], 4);
    assert!(
        said.contains("signed plugins only") && said.contains("openssl pkeyutl"),
        "{said}"
    );
    let other = at("other.sig");
    let words = [
        "plugin",
        "install",
        path,
        "--signature",
        other.to_str().unwrap(),
    ];
    assert!(broker.fails(&words, 4).contains("not by any key"));
    let good = at("good.sig");
    let words = [
        "plugin",
        "install",
        path,
        "--signature",
        good.to_str().unwrap(),
    ];
    assert!(broker.ok(&words, "").contains("version 1 serves"));
    // Beside the component it is found by itself.
    std::fs::copy(at("good.sig"), at("hello.wasm.sig")).unwrap();
    assert!(
        broker
            .ok(&["plugin", "install", path], "")
            .contains("version 2 serves")
    );
    let mut changed = hello();
    changed.extend([0, 3, 1, b'v', 1]);
    std::fs::write(at("hello.wasm"), changed).unwrap();
    assert!(
        broker
            .fails(&["plugin", "install", path], 4)
            .contains("changed since")
    );
}
