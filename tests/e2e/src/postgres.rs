//! PostgreSQL as a child process: its own folder, port and user.
//!
//! Must not: touch a cluster of the machine. Its programs refuse to run as root, and run as `postgres` then.

use crate::PATIENCE;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// The password of its user `witmq`.
pub const PASSWORD: &str = "an elephant never forgets";

/// A running PostgreSQL with its folder; ended when dropped.
pub struct Postgres {
    child: Child,
    folder: tempfile::TempDir,
    user: Option<(u32, u32)>,
    /// Where it listens on 127.0.0.1, also after it was started again.
    pub port: u16,
}

impl Postgres {
    /// Starts it on a free port, with the certificate and key of a folder. Only TLS is let in.
    #[must_use]
    pub fn start(certificates: &Path) -> Self {
        let user = is_root().then(|| (id("-u"), id("-g")));
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let password = folder.path().join("password");
        fs::write(&password, PASSWORD).unwrap();
        give(folder.path(), 0o700, user);
        give(&password, 0o600, user);
        let data = folder.path().join("data");
        let made = program("initdb", user)
            .args(["--no-sync", "--username=witmq", "--auth=scram-sha-256"])
            .arg(format!("--pwfile={}", password.display()))
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        for name in ["cert.pem", "key.pem"] {
            fs::copy(certificates.join(name), data.join(name)).unwrap();
            give(&data.join(name), 0o600, user);
        }
        let open = "hostssl all witmq 127.0.0.1/32 scram-sha-256\n";
        fs::write(data.join("pg_hba.conf"), open).unwrap();
        let child = run(&folder, port, user);
        let postgres = Self {
            child,
            folder,
            user,
            port,
        };
        postgres.wait_until_there();
        postgres
    }

    /// What `psql` prints for a statement.
    #[must_use]
    pub fn ask(&self, statement: &str) -> String {
        self.try_ask(statement)
            .unwrap_or_else(|error| panic!("{error}\n{statement}"))
    }

    fn try_ask(&self, statement: &str) -> Result<String, String> {
        let port = self.port.to_string();
        let output = Command::new("psql")
            .args([
                "-h",
                "127.0.0.1",
                "-p",
                &port,
                "-U",
                "witmq",
                "-d",
                "postgres",
            ])
            .args([
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                "-c",
                statement,
            ])
            .env("PGPASSWORD", PASSWORD)
            .output()
            .unwrap();
        match output.status.success() {
            true => Ok(String::from_utf8(output.stdout).unwrap().trim().to_owned()),
            false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
        }
    }

    fn wait_until_there(&self) {
        let end = Instant::now() + PATIENCE;
        while let Err(error) = self.try_ask("SELECT 1") {
            let log = fs::read_to_string(self.folder.path().join("log"));
            assert!(Instant::now() < end, "it does not answer: {error} {log:?}");
        }
    }

    /// Ends it at once, as a crash would.
    pub fn crash(&mut self) {
        let process = self.child.id().to_string();
        let told = Command::new("kill").args(["-QUIT", &process]).status();
        assert!(told.unwrap().success());
        self.child.wait().unwrap();
    }

    /// Starts it again on the same folder and port, after it ended.
    pub fn start_again(&mut self) {
        self.child = run(&self.folder, self.port, self.user);
        self.wait_until_there();
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.crash();
        }
    }
}

fn run(folder: &tempfile::TempDir, port: u16, user: Option<(u32, u32)>) -> Child {
    let log = fs::File::create(folder.path().join("log")).unwrap();
    let place = folder.path().display();
    program("postgres", user)
        .arg("-D")
        .arg(folder.path().join("data"))
        .args(["-h", "127.0.0.1", "-p", &port.to_string()])
        .args(["-c", &format!("unix_socket_directories={place}")])
        .args(["-c", "ssl=on", "-c", "ssl_cert_file=cert.pem"])
        .args(["-c", "ssl_key_file=key.pem"])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A program of the server: Debian keeps them out of the path.
fn program(name: &str, user: Option<(u32, u32)>) -> Command {
    let places = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let places = places.map(|place| place.unwrap().path().join("bin").join(name));
    let found: Option<PathBuf> = places.filter(|path| path.is_file()).max();
    let mut command = Command::new(found.expect("PostgreSQL is installed (Debian: postgresql)"));
    command.current_dir("/").env("LC_ALL", "C.UTF-8");
    if let Some((user, group)) = user {
        command.uid(user).gid(group);
    }
    command
}

fn give(path: &Path, mode: u32, user: Option<(u32, u32)>) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    if let Some((user, group)) = user {
        chown(path, Some(user), Some(group)).unwrap();
    }
}

fn said(words: &[&str]) -> String {
    let output = Command::new("id").args(words).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_root() -> bool {
    said(&["-u"]) == "0"
}

fn id(what: &str) -> u32 {
    said(&[what, "postgres"])
        .parse()
        .expect("there is a user `postgres`")
}
