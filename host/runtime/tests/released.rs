//! Components made for every released version of the plugin interface load, and each of their hooks is called.
//!
//! They lie in `tests/guests/released/VERSION`, and their sources, as they are now, in `tests/guests/fixtures`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::service::{Service, ok};
use common::{Around, code, config, granted, message, start_with, wait_until};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use witmq_broker::ports::control::InstallOptions;
use witmq_broker::ports::hooks::{Attempt, AuthRequest, Query};
use witmq_broker::ports::{
    AuthStep, Authenticate, Authorize, AuthorizeAction, BrokerEvent, Decision, PluginControl,
    Publisher, StepFailure, StepOutcome, Transform, Transport,
};
use witmq_proto::packet::{QoS, Version};
use witmq_proto::{ByteString, Bytes, Message, ReasonCode, TopicName};
use witmq_runtime::{Grants, Runtime, RuntimeConfig, ShardPlugins};

/// A component that is installed as `g`.
struct Host {
    /// Where it comes from, for messages.
    file: String,
    runtime: Runtime,
    hooks: ShardPlugins,
    around: Around,
}

const PUBLISHER: Publisher<'_> = Publisher {
    client_id: "here",
    username: Some("ada"),
    attributes: &[],
    session: 5,
};

fn released() -> Vec<(String, Vec<PathBuf>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/guests/released");
    let list = |folder: &Path| {
        let mut paths: Vec<_> = folder
            .read_dir()
            .unwrap()
            .map(|one| one.unwrap().path())
            .collect();
        paths.sort();
        paths
    };
    let versions = list(&folder).into_iter().filter(|path| path.is_dir());
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    versions.map(|path| (name(&path), list(&path))).collect()
}

impl Host {
    fn start(file: &Path, settings: Option<&str>) -> Self {
        let grants = Grants {
            http: vec!["127.0.0.1".parse().unwrap()],
            clients: true,
            ..granted()
        };
        let (runtime, around) = start_with(RuntimeConfig {
            grants: [("g".to_owned(), grants)].into(),
            ..config()
        });
        let file_name = file.display().to_string();
        let options = InstallOptions {
            config: settings.map(str::to_owned),
            ..InstallOptions::default()
        };
        let wasm = std::fs::read(file).unwrap();
        let done = runtime.install("g", wasm, options);
        done.unwrap_or_else(|error| panic!("{file_name} does not load any more: {error}"));
        let hooks = runtime.shard_hooks(0);
        Self {
            file: file_name,
            runtime,
            hooks,
            around,
        }
    }

    fn hooks(&self) -> Vec<String> {
        self.runtime.list().remove(0).hooks
    }

    fn transform(&mut self, topic: &str, payload: &str) -> Result<StepOutcome, StepFailure> {
        let message = Arc::new(on(topic, payload));
        match self.hooks.transform("g", PUBLISHER, &message) {
            Err(StepFailure::Waits(_)) => {
                let answer = self.hooks.ask("g", PUBLISHER, &message).unwrap();
                wait(answer)
            }
            outcome => outcome,
        }
    }

    fn payload(&mut self, topic: &str, payload: &str) -> String {
        match self.transform(topic, payload) {
            Ok(StepOutcome::Modify(patch)) => {
                String::from_utf8(patch.payload.unwrap().to_vec()).unwrap()
            }
            other => panic!("{}, {topic}: {other:?}", self.file),
        }
    }

    fn authenticate(&self, request: AuthRequest) -> AuthStep {
        wait(self.runtime.authenticator().authenticate(request))
    }

    fn authorize(&mut self, topic: &str) -> Decision {
        let query = Query {
            client_id: "here",
            username: Some("ada"),
            session: 5,
            action: AuthorizeAction::Subscribe,
            topic,
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        self.hooks.authorize(&query).decision
    }

    fn deliver(&mut self, payload: &str) {
        let message = Arc::new(message(payload));
        self.hooks.deliver("g", PUBLISHER, &message).unwrap();
    }

    /// Waits until just these payloads were published there.
    fn published(&self, topic: &str, payloads: &[&str]) {
        let what = format!("{}: {payloads:?} on {topic}", self.file);
        wait_until(&what, || self.around.on(topic) == payloads);
    }
}

fn on(topic: &str, payload: &str) -> Message {
    let mut message = message(payload);
    message.topic = TopicName::new(topic).unwrap();
    message.properties.user = vec![("k".into(), "v".into())];
    message
}

fn wait<R>(future: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

fn attempt(client_id: &str, username: &str) -> Attempt {
    Attempt {
        client_id: client_id.into(),
        username: Some(username.into()),
        password: None,
        method: Some("method".into()),
        data: Bytes::from_static(b"first "),
        peer: ([192, 0, 2, 7], 4000).into(),
        listener: "tcp".into(),
        transport: Transport::Tls,
        version: Version::V5,
        certificate: None,
    }
}

fn connected(client_id: &str) -> BrokerEvent {
    BrokerEvent::Connected {
        client_id: client_id.into(),
        username: None,
        peer: ([192, 0, 2, 1], 5000).into(),
        transport: Transport::Tcp,
        version: Version::V5,
        session_present: false,
    }
}

#[test]
fn every_component_of_every_release_loads_and_has_its_hooks_called() {
    let released = released();
    for (version, files) in &released {
        assert!(files.len() >= 3, "{version} has {files:?}");
        for file in files {
            match file.file_stem().and_then(|stem| stem.to_str()) {
                Some("one") => one(file),
                Some("pure") => pure(file),
                Some("waits") => waits(file),
                _ => panic!("{}: this test does not know what it does", file.display()),
            }
        }
    }
    assert_eq!(
        released.first().map(|(version, _)| version.as_str()),
        Some("1.0.0")
    );
}

/// The host offers what it has under one version of a major and finds the others by it.
#[test]
fn a_component_of_another_patch_version_calls_the_same_host() {
    let (_, files) = released().remove(0);
    let pure = files
        .iter()
        .find(|file| file.ends_with("pure.wasm"))
        .unwrap();
    let mut wasm = std::fs::read(pure).unwrap();
    let places: Vec<usize> = (0..wasm.len())
        .filter(|at| wasm[*at..].starts_with(b"@1.0.0"))
        .collect();
    assert!(places.len() > 10);
    places.iter().for_each(|at| wasm[at + 5] = b'7');
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("patched.wasm");
    std::fs::write(&file, wasm).unwrap();
    let mut host = Host::start(&file, Some(r#"{"health":"well"}"#));
    assert_eq!(
        host.transform("capabilities", "level"),
        Ok(StepOutcome::Pass)
    );
    assert_eq!(host.authorize("allow"), Decision::Allow);
}

fn one(file: &Path) {
    let mut host = Host::start(file, None);
    assert_eq!(host.hooks(), ["transform"]);
    assert_eq!(host.payload("t", "quiet"), "QUIET");
}

fn pure(file: &Path) {
    let mut host = Host::start(file, Some(r#"{"health":"well"}"#));
    let all = [
        "authenticate",
        "authorize",
        "transform",
        "sink",
        "events",
        "timer",
    ];
    assert_eq!(host.hooks(), all);
    outcomes(&mut host);
    assert_eq!(
        host.transform("capabilities", "level"),
        Ok(StepOutcome::Pass)
    );
    host.published("made/by/pure", &["x"]);
    lifecycle(&mut host, file);
    authentication(&host);
    for (topic, decision) in [
        ("allow", Decision::Allow),
        ("deny", Decision::Deny),
        ("fail", Decision::Deny),
        ("else", Decision::Ignore),
    ] {
        assert_eq!(host.authorize(topic), decision, "{}, {topic}", host.file);
    }
    for payload in ["first", "again", "never", "last"] {
        host.deliver(payload);
    }
    host.published("made/by/sink", &["first", "again", "last"]);
    host.published("$dead-letter/g", &["never"]);
    host.runtime.observers().emit(&connected("c"));
    host.published("made/by/events", &["connected c 192.0.2.1:5000"]);
    host.published("made/by/timer", &["7"]);
}

fn outcomes(host: &mut Host) {
    let Ok(StepOutcome::Modify(patch)) = host.transform("modify", "x") else {
        panic!("{}", host.file);
    };
    let user = patch.properties.unwrap().user.clone();
    assert_eq!(patch.payload.as_deref(), Some(b"here ada 5".as_slice()));
    assert_eq!(user, [(ByteString::from("seen"), ByteString::from("v"))]);
    let rest = (patch.topic.as_deref(), patch.qos, patch.retain);
    assert_eq!(rest, (Some("other"), Some(QoS::ExactlyOnce), Some(true)));
    let Ok(StepOutcome::Split(parts)) = host.transform("split", "x") else {
        panic!("{}", host.file);
    };
    let parts = parts
        .iter()
        .map(|part| (&*part.topic, &*part.payload, part.retain));
    let expected = [
        ("one", b"1".as_slice(), false),
        ("two", b"2".as_slice(), true),
    ];
    assert_eq!(parts.collect::<Vec<_>>(), expected);
    let reason = ReasonCode::NotAuthorized;
    let text = Some("no".to_owned());
    for (topic, outcome) in [
        ("refuse", StepOutcome::Refuse { reason, text }),
        ("consume", StepOutcome::Consume),
        ("withhold", StepOutcome::Withhold),
        ("stop", StepOutcome::Stop),
        ("jump", StepOutcome::Jump("there".to_owned())),
        ("else", StepOutcome::Pass),
    ] {
        assert_eq!(host.transform(topic, "x"), Ok(outcome), "{}", host.file);
    }
    for (topic, words) in [
        ("bad-input", "bad input: it is bad"),
        ("failed", "it failed"),
    ] {
        let failure = host.transform(topic, "x").unwrap_err().to_string();
        assert_eq!(
            failure,
            format!("plugin `g` failed: {words}"),
            "{}",
            host.file
        );
    }
}

/// State goes over, a configuration is taken in place, and who is sick does not serve.
fn lifecycle(host: &mut Host, file: &Path) {
    let seen: u64 = host.payload("seen", "x").parse().unwrap();
    let install = |health: &str| {
        let options = InstallOptions {
            config: Some(format!("{{\"health\":\"{health}\"}}")),
            ..InstallOptions::default()
        };
        host.runtime
            .install("g", std::fs::read(file).unwrap(), options)
    };
    install("unwell").unwrap();
    let error = host.runtime.list().remove(0).last_error;
    assert_eq!(error.as_deref(), Some("it is unwell"));
    assert_eq!(code(install("sick")), "init-refused");
    let well = r#"{"health":"well"}"#.to_owned();
    host.runtime.configure("g", well).unwrap();
    assert_eq!(
        host.payload("seen", "x"),
        (seen + 1).to_string(),
        "{}",
        host.file
    );
}

fn authentication(host: &Host) {
    let begin = |username| host.authenticate(AuthRequest::Begin(attempt("c", username)));
    let AuthStep::Allow(grant) = begin("allow") else {
        panic!("{}", host.file);
    };
    assert_eq!(
        (grant.username.as_deref(), grant.acl.len()),
        (Some("known"), 2)
    );
    assert_eq!(
        grant.attributes,
        [("peer".to_owned(), "192.0.2.7:4000".to_owned())]
    );
    for (username, expected) in [
        ("deny", ReasonCode::BadUserNameOrPassword),
        ("fail", ReasonCode::ServerUnavailable),
        ("else", ReasonCode::NotAuthorized),
    ] {
        let step = begin(username);
        let is_so = matches!(&step, AuthStep::Deny { reason, .. } if *reason == expected);
        assert!(is_so, "{}, {username}: {step:?}", host.file);
    }
    let AuthStep::Challenge { data, state } = begin("challenge") else {
        panic!("{}", host.file);
    };
    assert_eq!(&*data, b"who?");
    let round = AuthRequest::Proceed {
        attempt: attempt("c", "challenge"),
        state,
        data: Bytes::from_static(b"second"),
    };
    let AuthStep::Allow(grant) = host.authenticate(round) else {
        panic!("{}", host.file);
    };
    assert_eq!(grant.data.as_deref(), Some(b"first second".as_slice()));
}

fn waits(file: &Path) {
    let service = Service::start(|_| ok("the answer"));
    let mut host = Host::start(file, None);
    let all = ["authenticate", "transform", "sink", "events", "timer"];
    assert_eq!(host.hooks(), all);
    let here = host.payload("t", "here");
    for part in ["ada", "192.0.2.1:5000", "a/+"] {
        assert!(here.contains(part), "{}: {here}", host.file);
    }
    assert_eq!(host.payload("t", "elsewhere"), "nobody");
    let url = format!("http://{}/", service.at);
    assert_eq!(host.payload("t", &url), "the answer");
    let begin = |client_id| host.authenticate(AuthRequest::Begin(attempt(client_id, "ada")));
    assert!(matches!(begin("new"), AuthStep::Allow(_)), "{}", host.file);
    assert!(
        matches!(begin("here"), AuthStep::Deny { .. }),
        "{}",
        host.file
    );
    host.deliver("here");
    host.published("made/by/sink", &["true"]);
    host.published("made/by/timer", &["7"]);
    host.runtime.observers().emit(&connected("gone"));
    host.published("made/by/events", &["connected nobody"]);
}
