//! Programs of Debian: `mosquitto_pub`, `mosquitto_sub`, `mosquitto_rr`, `paho_cs_pub`, `paho_cs_sub`.

use super::{Job, Spot, Verdict};
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use tokio::sync::oneshot;
use witmq_e2e::client::{connect, options};
use witmq_e2e::{PATIENCE, lines, run, text};

/// A program that prints what it receives, line by line.
struct Printer {
    child: Child,
    said: Receiver<String>,
}

impl Printer {
    fn start(program: &str, words: &[String]) -> Self {
        // Its lines are read as they come, so it must not keep them until it ends.
        let mut command = Command::new("stdbuf");
        let mut child = command
            .args(["-oL", program])
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let said = lines(child.stdout.take().unwrap());
        Self { child, said }
    }

    fn expect(&self, line: &str) -> Verdict {
        match self.said.recv_timeout(PATIENCE) {
            Ok(said) if said == line => Ok(()),
            Ok(said) => Err(format!("{said:?} came where {line:?} was expected")),
            Err(_) => Err(format!("nothing came where {line:?} was expected")),
        }
    }

    /// Reads up to this line.
    fn find(&self, line: &str) -> Verdict {
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(said) if said == line => return Ok(()),
                Ok(_) => {}
                Err(_) => return Err(format!("{line:?} never came")),
            }
        }
    }

    /// Asks it to leave as Ctrl-C does.
    fn interrupt(&self) {
        let pid = self.child.id().to_string();
        let _status = Command::new("kill").args(["-INT", &pid]).status();
    }

    /// It must end, and well.
    fn ends(mut self) -> Verdict {
        loop {
            match self.said.recv_timeout(PATIENCE) {
                Ok(_) => {} // words of parting
                Err(RecvTimeoutError::Timeout) => return Err("it does not end".to_owned()),
                Err(RecvTimeoutError::Disconnected) => break, // its output is closed
            }
        }
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let is_well = status.success();
        is_well
            .then_some(())
            .ok_or_else(|| format!("it ended with {status}"))
    }
}

impl Drop for Printer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a program to its end; what it printed.
fn done(program: &str, words: &[String]) -> Verdict<String> {
    let mut command = Command::new(program);
    command.args(words);
    let output = run(command, "").map_err(|error| format!("{error:#}"))?;
    if output.status.success() {
        return Ok(text(&output));
    }
    Err(format!("{program}: {}", text(&output)))
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn mosquitto_words(job: &Job, (version, qos): Spot, rest: &[&str]) -> Vec<String> {
    let version = ["mqttv31", "mqttv311", "mqttv5"][usize::from(version - 3)];
    let port = job.address.port().to_string();
    let mut words = owned(&["-h", "127.0.0.1", "-p", &port, "-V", version]);
    words.extend(owned(&["-q", &qos.to_string()]));
    if job.is_tls() {
        words.extend(owned(&["--cafile", job.ca.to_str().unwrap()]));
    }
    words.extend(owned(rest));
    words
}

pub(super) fn mosquitto(job: &Job) -> Vec<(Spot, Verdict)> {
    job.each(|spot| {
        let topic = job.topic(spot);
        let [all, live, kept, will] =
            ["#", "live", "kept", "will"].map(|end| format!("{topic}/{end}"));
        let publish = |rest: &[&str]| done("mosquitto_pub", &mosquitto_words(job, spot, rest));
        publish(&["-t", &kept, "-m", "kept", "-r"])?;
        let wanted = ["-t", &all, "-C", "3", "-F", "%r %q %t %p"];
        let wanted = [
            &wanted[..],
            &["--will-topic", &will, "--will-payload", "last words"],
        ];
        let words = mosquitto_words(job, spot, &wanted.concat());
        let printer = Printer::start("mosquitto_sub", &words);
        let qos = spot.1;
        printer.expect(&format!("1 {qos} {kept} kept"))?; // it has subscribed, then
        publish(&["-t", &live, "-m", "from mosquitto_pub"])?;
        printer.expect(&format!("0 {qos} {live} from mosquitto_pub"))?;
        publish(&["-t", &kept, "-n", "-r"])?;
        printer.expect(&format!("0 {qos} {kept} "))?;
        printer.ends()
    })
}

pub(super) fn mosquitto_rr(job: &Job) -> Vec<(Spot, Verdict)> {
    let _responder = Responder::start(job);
    job.each(|spot| {
        let topic = job.topic(spot);
        let [ask, answer, will] = ["ask", "answer", "will"].map(|end| format!("{topic}/{end}"));
        let rest = ["-t", &ask, "-e", &answer, "-m", "ping", "-W", "20"];
        let rest = [
            &rest[..],
            &["--will-topic", &will, "--will-payload", "last words"],
        ];
        let said = done("mosquitto_rr", &mosquitto_words(job, spot, &rest.concat()))?;
        if said.trim() == "pong" {
            return Ok(());
        }
        Err(format!("{said:?} where pong was expected"))
    })
}

fn paho_words(job: &Job, (version, qos): Spot, rest: &[&str]) -> Vec<String> {
    let version = ["31", "311", "5"][usize::from(version - 3)];
    let url = job.url(["tcp", "ws", "ssl", "wss"]);
    let mut words = owned(&["-c", &url, "-V", version, "-q", &qos.to_string()]);
    if job.is_tls() {
        words.extend(owned(&["--cafile", job.ca.to_str().unwrap()]));
    }
    words.extend(owned(rest));
    words
}

pub(super) fn paho_cs(job: &Job) -> Vec<(Spot, Verdict)> {
    job.each(|spot| {
        let topic = job.topic(spot);
        let [all, live, kept, will] =
            ["#", "live", "kept", "will"].map(|end| format!("{topic}/{end}"));
        let name = topic.replace('/', "-");
        let (publisher, subscriber) = (format!("{name}-pub"), format!("{name}-sub"));
        let publish = |rest: &[&str]| {
            let rest = [&["-i", &publisher][..], rest].concat();
            done("paho_cs_pub", &paho_words(job, spot, &rest))
        };
        publish(&["-t", &kept, "-m", "kept", "-r"])?;
        let wanted = ["-i", &subscriber, "-t", &all];
        let wanted = [
            &wanted[..],
            &["--will-topic", &will, "--will-payload", "last words"],
        ];
        let words = paho_words(job, spot, &wanted.concat());
        let printer = Printer::start("paho_cs_sub", &words);
        printer.find(&format!("{kept}\tkept"))?; // behind what it says of the connection
        publish(&["-t", &live, "-m", "from paho_cs_pub"])?;
        printer.expect(&format!("{live}\tfrom paho_cs_pub"))?;
        printer.interrupt();
        printer.ends()?;
        publish(&["-t", &kept, "-n", "-r"]).map(drop)
    })
}

/// Answers what `mosquitto_rr` asks, as its request says: where, and with which correlation data.
struct Responder {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Responder {
    fn start(job: &Job) -> Self {
        let (broker, filter) = (job.tcp, format!("{}/+/+/ask", job.prefix()));
        let name = format!("responder-{}", job.transport);
        let (stop, stopped) = oneshot::channel();
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            runtime.unwrap().block_on(async {
                let mut client = connect(options(broker, &name)).await.unwrap();
                client.subscribe(&filter, QoS::ExactlyOnce).await;
                ready.send(()).unwrap();
                tokio::select! {
                    () = respond(&mut client) => {}
                    _ = stopped => {} // or dropped
                }
            });
        });
        is_ready.recv_timeout(PATIENCE).unwrap();
        Self {
            stop: Some(stop),
            thread: Some(thread),
        }
    }
}

async fn respond(client: &mut witmq_e2e::client::Client) {
    loop {
        let request = client.message().await;
        let asked = String::from_utf8_lossy(&request.topic).into_owned();
        let properties = request.properties.unwrap_or_default();
        // Before MQTT 5 a request says nothing of the answer: both sides know where it goes.
        let to = properties.response_topic;
        let to = to.unwrap_or_else(|| asked.replace("/ask", "/answer"));
        let answer = PublishProperties {
            correlation_data: properties.correlation_data,
            ..PublishProperties::default()
        };
        let sender = &client.sender;
        sender
            .publish_with_properties(to, request.qos, false, "pong", answer)
            .await
            .unwrap();
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        drop(self.stop.take()); // its other end hears of it
        drop(self.thread.take().map(std::thread::JoinHandle::join));
    }
}
