//! Clients of Python, Node and a browser: a process for each transport, which says how each cell went.

use super::{Job, Spot, Verdict};
use std::process::Command;
use witmq_e2e::{chromium as browser, python, root, run, text};

fn script(name: &str) -> std::path::PathBuf {
    root().join("tests/e2e/clients").join(name)
}

/// Runs the script with the job's cells; reads `cell VERSION QOS ok`, or what was wrong instead.
fn cells(mut command: Command, job: &Job) -> Vec<(Spot, Verdict)> {
    let cells = job.cells.iter();
    command.args(cells.map(|(version, qos)| format!("{version}:{qos}")));
    let said = run(command, "").map_or_else(|error| format!("{error:#}"), |output| text(&output));
    let mut found = Vec::new();
    for line in said.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        if let ["cell", version, qos, verdict] = words[..]
            && let (Ok(version), Ok(qos)) = (version.parse(), qos.parse())
        {
            let is_well = verdict == "ok";
            let verdict = is_well.then_some(()).ok_or_else(|| verdict.to_owned());
            found.push(((version, qos), verdict));
        }
    }
    // What kept it from saying more is the verdict of the cells it says nothing of.
    for spot in &job.cells {
        if !found.iter().any(|(known, _)| known == spot) {
            found.push((*spot, Err(format!("it only said {said:?}"))));
        }
    }
    found
}

fn in_python(name: &str, job: &Job) -> Vec<(Spot, Verdict)> {
    let mut command = Command::new(python());
    command
        .arg(script(name))
        .args([job.address.ip().to_string(), job.address.port().to_string()])
        .arg(job.transport)
        .arg(&job.ca)
        .arg(job.prefix());
    cells(command, job)
}

pub(super) fn paho(job: &Job) -> Vec<(Spot, Verdict)> {
    in_python("matrix_paho.py", job)
}

pub(super) fn aiomqtt(job: &Job) -> Vec<(Spot, Verdict)> {
    in_python("matrix_aiomqtt.py", job)
}

pub(super) fn gmqtt(job: &Job) -> Vec<(Spot, Verdict)> {
    in_python("matrix_gmqtt.py", job)
}

/// mqtt.js or async-mqtt: the script knows both.
pub(super) fn node(job: &Job) -> Vec<(Spot, Verdict)> {
    let mut command = Command::new("node");
    command
        .arg(script("matrix_node.js"))
        .args([job.client, &job.url(["mqtt", "ws", "mqtts", "wss"])])
        .arg(&job.ca)
        .arg(job.prefix());
    cells(command, job)
}

pub(super) fn chromium(job: &Job) -> Vec<(Spot, Verdict)> {
    let mut command = Command::new("node");
    command.arg(script("matrix_browser.js")).args([
        browser(),
        job.url(["", "ws", "", "wss"]),
        job.prefix(),
    ]);
    cells(command, job)
}
