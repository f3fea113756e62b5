//! Listeners that ask clients for certificates: who gets in, and what a plugin learns of them, by way of `auth-http`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod,
    KeyPair, RevokedCertParams, SerialNumber, date_time_ymd,
};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use witmq_e2e::one_by_one::wait_until;
use witmq_e2e::site::{Site, ok};
use witmq_e2e::wire::field;
use witmq_e2e::{Broker, PATIENCE, component};

/// A certificate and its key.
struct Made {
    certificate: rcgen::Certificate,
    key: KeyPair,
}

/// An authority that makes certificates.
struct Authority {
    params: CertificateParams,
    own: Made,
}

impl Authority {
    /// Names tell lists of revoked certificates apart.
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let own = Made { certificate, key };
        Self { params, own }
    }

    fn make(&self, name: &str, common_name: &str, usage: ExtendedKeyUsagePurpose) -> Made {
        self.make_numbered(None, name, common_name, usage)
    }

    fn make_numbered(
        &self,
        number: Option<u64>,
        name: &str,
        common_name: &str,
        usage: ExtendedKeyUsagePurpose,
    ) -> Made {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.serial_number = number.map(SerialNumber::from);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::from_params(&self.params, &self.own.key);
        let certificate = params.signed_by(&key, &issuer).unwrap();
        Made { certificate, key }
    }

    fn device(&self) -> Made {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.make("device-7.example.com", "device-7", usage)
    }

    /// One whose certificate has this number.
    fn numbered(&self, number: u64) -> Made {
        let usage = ExtendedKeyUsagePurpose::ClientAuth;
        self.make_numbered(Some(number), "device.example.com", "device", usage)
    }

    /// A list of revoked certificates. It is over since long ago, and holds.
    fn revoke(&self, numbers: &[u64]) -> CertificateRevocationList {
        let revoked = numbers.iter().map(|number| RevokedCertParams {
            serial_number: SerialNumber::from(*number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2024, 1, 1),
            next_update: date_time_ymd(2024, 2, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let issuer = Issuer::from_params(&self.params, &self.own.key);
        list.signed_by(&issuer).unwrap()
    }
}

/// A broker with a listener `must` that requires certificates of this authority and one, `may`, that takes them. Its service
/// lets everybody in. `more` is said of both.
fn broker(folder: &Path, authority: &Authority, site: &Site, more: &str) -> Broker {
    let server = authority.make("localhost", "server", ExtendedKeyUsagePurpose::ServerAuth);
    let write = |name: &str, text: String| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca = write("ca.pem", authority.own.certificate.pem());
    let cert = write("cert.pem", server.certificate.pem());
    let key = write("key.pem", server.key.serialize_pem());
    let listener = |name: &str, more: &str| {
        format!(
            "[[listener]]\nname = \"{name}\"\nkind = \"tls\"\nbind = \"127.0.0.1:0\"\ncert = {cert:?}\nkey = {key:?}\n\
             client_ca = {ca:?}\n{more}\n"
        )
    };
    let (must, may) = (
        listener("must", more),
        listener("may", &format!("client_cert = \"optional\"\n{more}")),
    );
    let broker = Broker::serve(&format!("[auth]\nplugins = [\"auth-http\"]\n{must}{may}"));
    let config = json!({ "endpoint": { "url": site.url() } }).to_string();
    let wasm = component("auth_http");
    let install = [
        "plugin",
        "install",
        wasm.to_str().unwrap(),
        "--name",
        "auth-http",
    ];
    let more = ["--config", &config, "--grant", "http:127.0.0.1"];
    drop(broker.ok(&[&install[..], &more].concat(), ""));
    broker
}

/// The reason code of CONNACK, if TLS comes so far.
fn login(broker: &Broker, listener: &str, authority: &Authority, own: Option<&Made>) -> Option<u8> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.own.certificate.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let config = match own {
        Some(own) => {
            let key = own.key.serialize_der().try_into().unwrap();
            let chain = vec![own.certificate.der().clone()];
            builder.with_client_auth_cert(chain, key).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    let socket = TcpStream::connect(broker.address(listener)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let name = "localhost".try_into().unwrap();
    let tls = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(tls, socket);
    let connect = [b"\0\x04MQTT\x05\x02\0\x3C\0", &field(b"c1")[..]].concat();
    let length = u8::try_from(connect.len()).unwrap();
    stream
        .write_all(&[&[0x10, length], &connect[..]].concat())
        .ok()?;
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).ok()?;
    assert_eq!(connack[0], 0x20, "{connack:x?}");
    Some(connack[3])
}

/// The service's questions so far.
fn questions(site: &Site) -> Vec<Value> {
    site.asked.try_iter().map(|asked| asked.json()).collect()
}

#[test]
fn a_plugin_sees_the_certificate_of_a_client_and_others_do_not_get_in() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(|_| ok(json!({ "result": "allow" }).to_string()));
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let broker = broker(folder.path(), &ours, &site, "");
    let device = ours.device();
    assert_eq!(login(&broker, "must", &ours, Some(&device)), Some(0));
    let digest = Sha256::digest(device.certificate.der());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let asked = questions(&site);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["certificate_subject"], "CN=device-7");
    assert_eq!(asked[0]["certificate_names"], "DNS:device-7.example.com");
    assert_eq!(asked[0]["certificate_fingerprint"], hex);

    let usage = ExtendedKeyUsagePurpose::ServerAuth;
    let not_for_clients = ours.make("device-7.example.com", "device-7", usage);
    let of_another = theirs.device();
    for listener in ["must", "may"] {
        for bad in [&not_for_clients, &of_another] {
            assert_eq!(
                login(&broker, listener, &ours, Some(bad)),
                None,
                "{listener}"
            );
        }
    }
    assert_eq!(login(&broker, "must", &ours, None), None);
    assert_eq!(
        questions(&site),
        [Value::Null; 0],
        "nobody was asked about them"
    );

    assert_eq!(login(&broker, "may", &ours, None), Some(0));
    let asked = questions(&site);
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["certificate_subject"], Value::Null);
    assert_eq!(login(&broker, "may", &ours, Some(&device)), Some(0));
    assert_eq!(questions(&site)[0]["certificate_subject"], "CN=device-7");
}

/// The broker reads its certificates again, and says so of both listeners.
async fn read_again(broker: &Broker, said: &str) {
    let pid = broker.pid().to_string();
    let told = std::process::Command::new("kill")
        .args(["-HUP", &pid])
        .status();
    assert!(told.unwrap().success());
    for _ in ["must", "may"] {
        broker.wait_for_log(said).await;
    }
}

#[tokio::test]
async fn a_revoked_certificate_lets_nobody_in_and_lists_are_read_again() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::start(|_| ok(json!({ "result": "allow" }).to_string()));
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let path = folder.path().join("revoked.crl");
    let put = |bytes: &[u8]| std::fs::write(&path, bytes).unwrap();
    // In one file: that of another authority is no harm.
    let both = [&theirs.revoke(&[1, 2]), &ours.revoke(&[2, 3])].map(|list| list.pem().unwrap());
    put(both.concat().as_bytes());
    let more = format!("crl = [{path:?}]");
    let broker = broker(folder.path(), &ours, &site, &more);
    let (one, two) = (ours.numbered(1), ours.numbered(2));
    let logins = || {
        ["must", "may"].map(|name| [&one, &two].map(|own| login(&broker, name, &ours, Some(own))))
    };
    let (only_one, only_two, nobody) = ([Some(0), None], [None, Some(0)], [None, None]);
    assert_eq!(logins(), [only_one, only_one]);
    assert_eq!(login(&broker, "may", &ours, None), Some(0));
    wait_until("the count of refused handshakes", || {
        (broker.metrics()).contains("witmq_handshakes_failed_total 2\n")
    });

    put(ours.revoke(&[1]).der());
    read_again(&broker, "certificate read again").await;
    assert_eq!(logins(), [only_two, only_two]);
    put(b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n");
    read_again(&broker, "revoked.crl: no list of revoked certificates").await;
    assert_eq!(logins(), [only_two, only_two], "what was there stays");
    put(theirs.revoke(&[]).der());
    read_again(&broker, "certificate read again").await;
    assert_eq!(logins(), [nobody, nobody], "our authority has no list");
    put(ours.revoke(&[]).der());
    read_again(&broker, "certificate read again").await;
    assert_eq!(logins(), [[Some(0), Some(0)]; 2]);
}

#[test]
fn listeners_that_cannot_ask_are_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("witmq.toml");
    let missing = folder.path().join("none.pem");
    let authority = Authority::new("ours");
    let server = authority.make("localhost", "server", ExtendedKeyUsagePurpose::ServerAuth);
    let (cert, key) = (
        folder.path().join("cert.pem"),
        folder.path().join("key.pem"),
    );
    std::fs::write(&cert, server.certificate.pem()).unwrap();
    std::fs::write(&key, server.key.serialize_pem()).unwrap();
    let files = format!("cert = {cert:?}\nkey = {key:?}\n");
    for (kind, more, expected) in [
        ("tcp", format!("client_ca = {missing:?}\n"), "speaks no TLS"),
        (
            "tls",
            format!("{files}client_cert = \"optional\"\n"),
            "no `client_ca`",
        ),
        (
            "tls",
            format!("{files}client_ca = {missing:?}\n"),
            "none.pem",
        ),
        (
            "tls",
            format!("{files}client_ca = {key:?}\n"),
            "key.pem: no certificate",
        ),
        ("tls", format!("{files}client_cert = \"maybe\"\n"), "maybe"),
        (
            "tls",
            format!("{files}crl = [{missing:?}]\n"),
            "has `crl` and no `client_ca`",
        ),
        (
            "tls",
            format!("{files}client_ca = {cert:?}\ncrl = [{missing:?}]\n"),
            "none.pem: no list of revoked certificates could be read",
        ),
        (
            "tls",
            format!("{files}client_ca = {cert:?}\ncrl = [{key:?}]\n"),
            "key.pem: no list of revoked certificates could be read: the file has none",
        ),
    ] {
        let data = folder.path().join("data");
        let text = format!(
            "data_dir = {data:?}\n[[listener]]\nname = \"x\"\nkind = \"{kind}\"\nbind = \"127.0.0.1:0\"\n{more}"
        );
        std::fs::write(&path, text).unwrap();
        let mut command = std::process::Command::new(witmq_e2e::binary());
        command.arg("serve").arg("-c").arg(&path);
        let output = witmq_e2e::run(command, "").unwrap();
        assert!(!output.status.success(), "{expected}");
        let said = witmq_e2e::text(&output);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}
