//! Chains: rule files parsed, checked, compiled, deployed, run and traced.
//!
//! Owns: the file format, templates, CEL, the table of deployed chains and its revisions.
//! Must not: know sockets, sessions or wasmtime; plugins are called through `witmq_broker::ports::Transform`.
//! Pure: a chain runs offline in a test or on the command line exactly as it runs in the broker.
//!
//! | module | owns |
//! |---|---|
//! | `file` | the TOML shape and its errors with line and column |
//! | `payload` | bytes to JSON and back: `decode` and `encode` |
//! | `template` | `sensors/{site}/temp` as filter, variables and topic |
//! | `events` | events of the broker as messages that chains begin with |
//! | `expression` | CEL: numbers are doubles, names are checked at deploy, every step is counted |
//! | `functions` | what expressions may call, one table for calls, documentation and tests |
//! | `chain` | one compiled chain |
//! | `step` | the kinds of steps, one file each: compiled, bounded, run |
//! | `run` | a message through the steps |
//! | `rules` | what is deployed, for all shards |
//! | `state` | what steps remember, shared by all shards |
//! | `tables` | what `lookup` and `store` know, kept with the keys of plugins |
//! | `breaker` | when a chain is given a rest |
//! | `tally` | numbers of each step |
//! | `trace`, `tap` | what became of a message step by step, and who is shown that |
//! | `record`, `replay` | messages as they came, and what a file makes of them |
//! | `import` | rules of EMQX as chain files |
//! | `schema` | the JSON Schema of a file |
//! | `check` | a file's own tests, and the trace of one message |

mod breaker;
mod chain;
mod check;
mod events;
mod expression;
mod file;
mod functions;
mod import;
mod payload;
mod place;
mod record;
mod replay;
mod rules;
mod run;
mod schema;
mod state;
mod step;
mod tables;
mod tally;
mod tap;
mod template;
mod trace;

pub use breaker::{BreakerLimits, Turn};
pub use check::{Tested, check, run_message, test, trace};
pub use expression::Limits as ExpressionLimits;
pub use functions::{describe as describe_functions, page as functions_page};
pub use import::{Imported, Remark, import_emqx};
pub use place::RuleError;
pub use record::{Recorded, Recording};
pub use replay::{Replayed, replay};
pub use rules::{Rules, RulesConfig, ShardChains};
pub use schema::schema;
pub use tables::Tables;
pub use tap::{Miss, Tapped};
pub use trace::{Changed, Emitted, Evaluated, Mark, Trace, TracedStep};
