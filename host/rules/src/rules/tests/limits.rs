//! What an evaluation may cost is a setting, holds on live messages, and is counted.

use super::{message, through};
use crate::{ExpressionLimits, Rules, RulesConfig};
use witmq_broker::ports::RuleControl;

#[test]
fn a_step_beyond_a_limit_fails_and_is_counted() {
    let (rules, _) = Rules::new(RulesConfig {
        expression: ExpressionLimits {
            iterations: 3,
            ..ExpressionLimits::default()
        },
        ..RulesConfig::default()
    });
    let text = "from = 'a'\n[[step]]\nfilter = '[0].exists(x, true) && payload.all(x, x > 0)'\n";
    rules.apply("a.toml", text, false).unwrap();
    let mut chains = rules.shard_chains();
    for (payload, failed) in [("[1,2]", 0), ("[1,2,3]", 1), ("[1,2]", 1)] {
        through(&mut chains, &message("a", payload));
        let info = &rules.list()[0];
        assert_eq!((info.limited, info.failed), (failed, failed), "{payload}");
        let error = info.last_error.as_deref().unwrap_or_default();
        assert_eq!(
            error.contains("(expression_iterations)"),
            failed > 0,
            "{error}"
        );
    }
}
