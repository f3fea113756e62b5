//! Mosquitto as a child process: another broker for bridges.

use crate::PATIENCE;
use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command};
use std::time::Instant;

/// User and password that it knows.
pub const USER: (&str, &str) = ("bridge", "over the river");

/// A running Mosquitto with its folder; ended when dropped. It keeps sessions when it is stopped.
pub struct Mosquitto {
    child: Child,
    folder: tempfile::TempDir,
    /// Where it listens, also after it was started again.
    pub address: SocketAddr,
}

impl Mosquitto {
    /// Starts it on a free port. Only [`USER`] is let in.
    #[must_use]
    pub fn start() -> Self {
        Self::with("")
    }

    /// The same with the certificate and key of a folder; only TLS is let in.
    #[must_use]
    pub fn secured(certificates: &Path) -> Self {
        let place = |name: &str| certificates.join(name).display().to_string();
        Self::with(&format!(
            "certfile {}\nkeyfile {}\n",
            place("cert.pem"),
            place("key.pem")
        ))
    }

    /// With more lines about its listener.
    fn with(listener: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let passwords = folder.path().join("passwords");
        let made = Command::new("mosquitto_passwd")
            .args(["-b", "-c"])
            .arg(&passwords)
            .args([USER.0, USER.1])
            .status();
        assert!(made.unwrap().success());
        let place = folder.path().display();
        let text = format!(
            "user root\nlistener {} 127.0.0.1\n{listener}allow_anonymous false\npassword_file {}\n\
             persistence true\npersistence_location {place}/\n",
            address.port(),
            passwords.display()
        );
        fs::write(folder.path().join("mosquitto.conf"), text).unwrap();
        let child = run(&folder, address);
        Self {
            child,
            folder,
            address,
        }
    }

    /// Asks it to end, and waits until it did.
    pub fn stop(&mut self) {
        let process = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .arg(process)
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap();
    }

    /// Starts it again on the same folder and port, after it ended.
    pub fn start_again(&mut self) {
        self.child = run(&self.folder, self.address);
    }
}

fn run(folder: &tempfile::TempDir, address: SocketAddr) -> Child {
    let child = Command::new("mosquitto")
        .arg("-c")
        .arg(folder.path().join("mosquitto.conf"))
        .stderr(fs::File::create(folder.path().join("log")).unwrap())
        .spawn()
        .unwrap();
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_err() {
        let said = fs::read_to_string(folder.path().join("log"));
        assert!(Instant::now() < end, "it does not listen: {said:?}");
        std::thread::yield_now();
    }
    child
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _is_gone = self.child.kill().is_err();
        let _is_gone = self.child.wait().is_err();
    }
}
