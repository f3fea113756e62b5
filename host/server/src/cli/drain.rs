//! `witmq drain`.

use super::args::DrainArgs;
use super::remote::Remote;
use super::{CliError, print};
use serde_json::{Value, json};

pub(crate) fn run(args: &DrainArgs) -> Result<(), CliError> {
    let remote = Remote::new(&args.admin)?;
    if args.stop {
        remote.delete("drain")?;
    } else if let Some(server) = &args.to {
        let body =
            json!({ "server": server, "permanent": args.permanent, "per_second": args.per_second });
        remote.put("drain", "application/json", body.to_string().as_bytes())?;
    }
    print(&words(&remote.read("drain")?));
    Ok(())
}

fn words(status: &Value) -> String {
    let connections = &status["connections"];
    match status["server"].as_str() {
        Some(server) if status["permanent"] == true => {
            format!("clients are sent to {server} for good; {connections} are still connected")
        }
        Some(server) => {
            format!("clients are sent to {server} for now; {connections} are still connected")
        }
        None => format!("clients are served; {connections} are connected"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_where_clients_go() {
        let status = |server: Value, permanent| json!({ "server": server, "permanent": permanent, "connections": 3 });
        assert_eq!(
            words(&status(json!("b:1883"), true)),
            "clients are sent to b:1883 for good; 3 are still connected"
        );
        assert_eq!(
            words(&status(json!("b:1883"), false)),
            "clients are sent to b:1883 for now; 3 are still connected"
        );
        assert_eq!(
            words(&status(Value::Null, false)),
            "clients are served; 3 are connected"
        );
    }
}
