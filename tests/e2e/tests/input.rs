//! Bad input: a clear message, nothing lost, the broker up.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;
use witmq_e2e::{Broker, binary, component, run, text};

/// Bytes that look like nothing, the same on every run.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    };
    (0..count).map(|_| next()).collect()
}

#[test]
fn random_and_hostile_bytes_end_their_own_connection_only() {
    let broker = Broker::dev(&["--no-demo"]);
    let connect = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc".to_vec();
    let behind = |bytes: &[u8]| [&connect[..], bytes].concat();
    let mut all: Vec<Vec<u8>> = (0..200).map(|seed| noise(seed, 300)).collect();
    all.extend([
        connect[..9].to_vec(),                      // truncated, then silence
        behind(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]),    // 256 MiB announced
        behind(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1]), // a length of five bytes
        behind(&[0x82, 2, 0, 1]),                   // SUBSCRIBE without a filter
        behind(&[0x36, 3, 0, 1, b'a']),             // QoS 3
        behind(&connect),                           // a second CONNECT
        behind(&[0x20, 3, 0, 0, 0]),                // a packet of servers
    ]);
    for (listener, bytes) in all
        .iter()
        .flat_map(|bytes| [("tcp", bytes), ("ws", bytes), ("tls", bytes)])
    {
        let mut socket = TcpStream::connect(broker.address(listener)).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_secs(15)))
            .unwrap();
        // It may close while we still write: that is an answer too.
        drop(socket.write_all(bytes));
        drop(socket.shutdown(std::net::Shutdown::Write));
        drop(socket.read_to_end(&mut Vec::new()));
    }
    let address = format!("mqtt://{}", broker.address("tcp"));
    let output = broker.witmq(
        &["pub", "still/there", "yes", "-q", "1", "--url", &address],
        "",
    );
    assert!(output.status.success(), "{}", text(&output));
    assert!(
        broker.ok(&["status"], "").contains("\"sockets\": 0"),
        "no connection is left behind"
    );
}

#[test]
fn an_unknown_key_is_answered_with_a_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("witmq.toml");
    std::fs::write(&config, "[limits]\nmax_packet_byte = 1\n").unwrap();
    let mut command = Command::new(binary());
    command.arg("serve").arg("-c").arg(&config);
    for ours in ["WITMQ_BIN", "WITMQ_GUESTS", "WITMQ_PYTHON"] {
        command.env_remove(ours);
    }
    let output = run(command, "").unwrap();
    let said = text(&output);
    assert!(
        !output.status.success() && said.contains("witmq.toml:2:1"),
        "{said}"
    );
    assert!(said.contains("did you mean `max_packet_bytes`?"), "{said}");
}

#[test]
fn a_taken_port_names_the_listener_and_what_to_do() {
    let broker = Broker::dev(&["--no-demo"]);
    let port = broker.address("tcp").port().to_string();
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command
        .arg("dev")
        .arg(folder.path())
        .args(["--no-demo", "--port", &port]);
    command.args([
        "--tls-port",
        "0",
        "--ws-port",
        "0",
        "--wss-port",
        "0",
        "--http-port",
        "0",
    ]);
    let output = run(command, "").unwrap();
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("listener `tcp`") && said.contains("another program listens there"),
        "{said}"
    );
}

#[test]
fn bad_chains_and_components_are_refused_and_the_old_ones_serve_on() {
    let broker = Broker::dev(&["--no-demo"]);
    broker.chain("c", "from = \"t\"\n[[step]]\npublish = \"u\"\n");
    let folder = broker.folder().to_owned();
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let chain = put(
        "c.toml",
        b"from = \"t\"\n[[step]]\nfilter = \"paylod.c > 1\"\n",
    );
    let said = broker.fails(&["rule", "apply", &chain], 4);
    assert!(
        said.contains("c.toml:3:11") && said.contains("did you mean `payload`"),
        "{said}"
    );
    assert!(
        broker
            .ok(&["rule", "ls", "--json"], "")
            .contains("\"revision\": 1")
    );
    let core = put("core.wasm", b"\0asm\x01\0\0\0");
    let said = broker.fails(&["plugin", "install", &core], 4);
    assert!(
        said.contains("core WebAssembly module") && said.contains("wasm32-wasip2"),
        "{said}"
    );
    // A component that imports an interface nobody has: (component (import "other:thing/api" (instance)))
    let mut wasm = b"\0asm\x0d\0\x01\0".to_vec();
    wasm.extend([7, 3, 1, 0x42, 0]); // type section: an empty instance type
    let name = b"other:thing/api";
    let length = u8::try_from(name.len()).unwrap();
    wasm.extend([10, length + 5, 1, 0, length]);
    wasm.extend(name);
    wasm.extend([5, 0]); // an instance of type 0
    let missing = put("missing.wasm", &wasm);
    let said = broker.fails(&["plugin", "install", &missing], 4);
    assert!(
        said.contains("other:thing/api") && said.contains("does not offer"),
        "{said}"
    );
    let said = broker.fails(&["plugin", "rollback", "nobody"], 3);
    assert!(said.contains("nobody"), "{said}");
    let mut command = Command::new(binary());
    command.args([
        "plugin",
        "ls",
        "--admin",
        "http://127.0.0.1:1",
        "--token",
        "x",
    ]);
    assert_eq!(
        run(command, "").unwrap().status.code(),
        Some(5),
        "nobody answers"
    );
}

#[test]
fn sigterm_ends_it_well() {
    let mut broker = Broker::dev(&["--no-demo"]);
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn the_command_line_finds_the_broker_of_a_data_folder_and_says_when_it_is_gone() {
    let mut broker = Broker::serve("");
    let data = broker.folder().join(".witmq");
    let status = || {
        let mut command = Command::new(binary());
        command.arg("status").arg("--data-dir").arg(&data);
        command.env_remove("WITMQ_URL");
        run(command, "").unwrap()
    };
    let output = status();
    assert!(output.status.success(), "{}", text(&output));
    broker.kill_9();
    let output = status();
    assert_eq!(output.status.code(), Some(5), "{}", text(&output));
    let file = data.join("http.address");
    let said = text(&output);
    assert!(
        said.contains(&format!("where {} says it is", file.display())),
        "{said}"
    );
    assert!(said.contains("name another with --admin URL"), "{said}");
}

#[test]
fn a_configuration_that_is_refused_names_a_way_to_its_schema_before_there_is_a_plugin() {
    let broker = Broker::serve("");
    let wasm = component("scram");
    let wasm = wasm.to_str().unwrap();
    let said = broker.fails(&["plugin", "install", wasm, "--config", "{\"user\":[]}"], 4);
    assert!(said.contains("does not fit"), "{said}");
    assert!(
        said.contains("`witmq plugin check FILE` shows the schema"),
        "{said}"
    );
    let shown = broker.ok(&["plugin", "check", wasm], "");
    assert!(shown.contains("decoy_secret"), "{shown}");
    drop(broker.fails(&["plugin", "get", "scram"], 3)); // it was not installed
}

#[test]
fn dev_takes_keys_of_the_configuration_from_the_environment() {
    let broker = Broker::dev_with(&["--no-demo"], &[("WITMQ_LIMITS__MAX_CONNECTIONS", "1")]);
    let open = || {
        let mut stream = TcpStream::connect(broker.address("tcp")).unwrap();
        stream
            .write_all(b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01a")
            .unwrap();
        let mut said = [0; 4];
        let read = stream.read_exact(&mut said);
        (stream, read.map(|()| said).ok())
    };
    let (first, said) = open();
    assert_eq!(said, Some([0x20, 2, 0, 0]));
    assert_eq!(open().1, None, "one connection is as many as there may be");
    drop(first);
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(binary());
    command.arg("dev").arg(folder.path());
    command.env("WITMQ_LIMITS__AUTH_THREADS", "0");
    let output = run(command, "").unwrap();
    assert!(!output.status.success());
    let said = text(&output);
    assert!(
        said.contains("`limits.auth_threads` is 0; it has to be 1 to 256"),
        "{said}"
    );
}
