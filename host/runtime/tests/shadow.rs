//! A version that sees the traffic of the one that serves: compared, never applied.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod common;

use common::{Around, NOBODY, call, code, config, guest, install, mode, stamp, start_with};
use witmq_broker::ports::control::{InstallOptions, PluginInfo, ShadowInfo};
use witmq_broker::ports::hooks::{AuthorizeAction, Query};
use witmq_broker::ports::{Authorize as _, ControlError, PluginControl, Transform as _};
use witmq_proto::packet::QoS;
use witmq_runtime::{Runtime, RuntimeConfig, ShardPlugins};

fn shadow(runtime: &Runtime, config: Option<String>) -> Result<PluginInfo, ControlError> {
    let options = InstallOptions {
        config,
        is_shadow: true,
        ..InstallOptions::default()
    };
    runtime.install("g", guest(), options)
}

fn look(runtime: &Runtime) -> ShadowInfo {
    runtime.list().remove(0).shadow.unwrap()
}

fn serving(wanted: Option<String>) -> (Runtime, Around, ShardPlugins) {
    let (runtime, around) = start_with(config());
    install(&runtime, "g", guest(), wanted).unwrap();
    let hooks = runtime.shard_hooks(0);
    (runtime, around, hooks)
}

#[test]
fn outcomes_are_compared_and_the_version_that_serves_decides() {
    let (runtime, _, mut hooks) = serving(stamp("a"));
    let info = shadow(&runtime, stamp("a")).unwrap();
    assert_eq!(
        (info.active.version, info.versions.len()),
        (1, 1),
        "no version of its own"
    );
    for _ in 0..3 {
        assert_eq!(call(&mut hooks, "x").unwrap(), "a x");
    }
    let same = look(&runtime);
    assert_eq!((same.same, same.different, same.failed), (3, 0, 0));
    assert!(same.quantiles_us[0] > 0.0);

    shadow(&runtime, stamp("b")).unwrap();
    assert_eq!(call(&mut hooks, "x").unwrap(), "a x");
    let other = look(&runtime);
    assert_eq!((other.same, other.different, other.failed), (0, 1, 0));
    let [difference] = &other.differences[..] else {
        panic!("{:?}", other.differences)
    };
    assert!(
        difference.starts_with("t: ") && difference.contains("b x"),
        "{difference}"
    );

    // Only the last ones are remembered, each cut.
    for _ in 0..20 {
        call(&mut hooks, &"x".repeat(1000)).unwrap();
    }
    let many = look(&runtime);
    assert_eq!((many.different, many.differences.len()), (21, 8));
    assert!(
        many.differences
            .iter()
            .all(|text| text.chars().count() < 500)
    );
}

#[test]
fn rights_are_compared_too() {
    let (runtime, _, mut hooks) = serving(mode("pass"));
    shadow(&runtime, mode("ignore")).unwrap();
    let query = Query {
        client_id: "c",
        username: None,
        session: 1,
        action: AuthorizeAction::Publish,
        topic: "t",
        qos: QoS::AtMostOnce,
        retain: false,
    };
    let before = hooks.authorize(&query);
    let shadowed = look(&runtime);
    assert_eq!((shadowed.same, shadowed.different), (0, 1));
    runtime.end_shadow("g").unwrap();
    assert_eq!(hooks.authorize(&query), before);
}

#[test]
fn what_it_does_goes_nowhere() {
    let (runtime, around, mut hooks) = serving(mode("count"));
    shadow(&runtime, mode("count")).unwrap();
    for count in 1..=3 {
        assert_eq!(call(&mut hooks, "x").unwrap(), count.to_string());
    }
    assert_eq!(around.count("count"), 3, "counted once for each message");
    assert_eq!(
        look(&runtime).same,
        3,
        "it counted as far in a world of its own"
    );

    let (runtime, around, mut hooks) = serving(mode("pass"));
    shadow(&runtime, mode("publish")).unwrap();
    call(&mut hooks, "x").unwrap();
    assert!(around.on("made/by/plugin").is_empty());
    assert_eq!(look(&runtime).different, 1);
    shadow(&runtime, mode("print")).unwrap();
    call(&mut hooks, "x").unwrap();
    let lines = runtime.log("g", 0).unwrap();
    assert!(
        lines.iter().any(|line| line.text.starts_with("shadow: ")),
        "{lines:?}"
    );
}

#[test]
fn one_that_traps_hurts_nobody_and_ends() {
    let (runtime, _, mut hooks) = serving(stamp("a"));
    shadow(&runtime, mode("trap")).unwrap();
    for _ in 0..6 {
        assert_eq!(call(&mut hooks, "x").unwrap(), "a x");
    }
    let trapped = look(&runtime);
    assert_eq!(
        (trapped.failed, trapped.is_over),
        (6, false),
        "the first and five more"
    );
    assert!(trapped.last_error.unwrap().contains("trapped"));
    assert_eq!(call(&mut hooks, "x").unwrap(), "a x");
    let ended = look(&runtime);
    assert_eq!((ended.failed, ended.is_over), (6, true));
    let info = runtime.list().remove(0);
    assert_eq!((info.state, info.restarts), ("serving", 0));
    assert!(
        info.failures.iter().all(|(_, count)| *count == 0),
        "those of the shadow are its own"
    );
}

#[test]
fn any_change_of_the_plugin_ends_it() {
    let (runtime, _, mut hooks) = serving(stamp("a"));
    shadow(&runtime, stamp("b")).unwrap();
    install(&runtime, "g", guest(), stamp("c")).unwrap();
    assert!(runtime.list().remove(0).shadow.is_none());
    assert_eq!(call(&mut hooks, "x").unwrap(), "c x");
    // In place, too.
    shadow(&runtime, stamp("b")).unwrap();
    runtime.configure("g", stamp("d").unwrap()).unwrap();
    assert!(runtime.list().remove(0).shadow.is_none());
    assert_eq!(call(&mut hooks, "x").unwrap(), "d x");
    shadow(&runtime, stamp("b")).unwrap();
    assert!(runtime.end_shadow("g").unwrap().shadow.is_none());
    assert!(matches!(
        runtime.end_shadow("g"),
        Err(ControlError::NotFound(_))
    ));
}

#[test]
fn what_cannot_be_one_is_refused_with_what_to_do() {
    let (runtime, _) = start_with(RuntimeConfig::default());
    assert!(matches!(
        shadow(&runtime, None),
        Err(ControlError::NotFound(_))
    ));
    let (runtime, _, mut hooks) = serving(stamp("a"));
    assert_eq!(code(shadow(&runtime, mode("refuse-init"))), "init-refused");
    assert_eq!(code(shadow(&runtime, mode("nonsense"))), "bad-config");
    assert!(runtime.list().remove(0).shadow.is_none());
    runtime
        .install(
            "other",
            guest(),
            InstallOptions {
                config: mode("pass"),
                grants: vec!["publish:made/by/#".into(), "secret:token".into()],
                ..InstallOptions::default()
            },
        )
        .unwrap();
    runtime.set_enabled("other", false).unwrap();
    let options = InstallOptions {
        is_shadow: true,
        ..InstallOptions::default()
    };
    assert_eq!(
        code(runtime.install("other", guest(), options)),
        "no-shadow"
    );
    assert!(hooks.transform("g", NOBODY, &common::message("x")).is_ok());
}
