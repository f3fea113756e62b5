//! `witmq`: the broker and its command line in one binary.
//!
//! Owns: arguments, environment, configuration, signals. `wire.rs` is the only place that knows all parts.
#![forbid(unsafe_code)]

mod bounds;
mod cli;
mod config;
mod delayed;
mod demo;
mod dev;
mod drain;
mod kept;
mod kernel;
mod logging;
mod pages;
mod plugins;
mod resting;
mod secret;
mod status;
mod store;
mod sys;
mod tables;
mod users;
mod watch;
mod windows;
mod wire;

use anyhow::{Context as _, Result};
use clap::Parser as _;
use cli::{Cli, Command, DevArgs, Exit, ServeArgs};
use std::process::ExitCode;

/// The system's allocator takes a tenth more CPU for each message (host/docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let ended = match Cli::parse().command {
        Command::Dev(args) => dev(&args),
        Command::Serve(args) => serve(&args),
        other => match cli::run(other) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error}");
                return error.exit.into();
            }
        },
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            Exit::Failed.into()
        }
    }
}

/// A broker for the first five minutes.
fn dev(args: &DevArgs) -> Result<()> {
    let (config, certificates) = dev::config(args)?;
    logging::start(&config.log)?;
    let broker = wire::start(&config, wire::Access::dev(args.no_anonymous))?;
    let watch = watch::start(&args.dir, broker.watched())?;
    let demo = (!args.no_demo && !args.no_anonymous)
        .then(|| demo::start(broker.addresses().address("tcp")));
    println!("{}", dev::banner(args, broker.addresses(), &certificates));
    broker.run_until_signal()?;
    drop((demo, watch));
    broker.shutdown();
    Ok(())
}

/// A broker for production.
fn serve(args: &ServeArgs) -> Result<()> {
    let config = config::read(args.config.as_deref(), std::env::vars())?;
    if args.check {
        cli::print("the configuration is fine");
        return Ok(());
    }
    logging::start(&config.log)?;
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("cannot make the data folder {}", config.data_dir.display()))?;
    let broker = wire::start(&config, wire::Access::Serve)?;
    for (name, address) in broker.addresses().all() {
        tracing::info!(listener = name, %address, "listening");
    }
    broker.run_until_signal()?;
    broker.shutdown();
    Ok(())
}
