//! Chains: rule files parsed, checked, compiled, deployed, run and traced.
//!
//! Owns: the file format, templates, CEL, the table of deployed chains and its revisions.
//! Must not: know sockets, sessions or wasmtime; plugins are called through `witmq_broker::ports::Transform`.
//! Pure: a chain runs offline in a test or on the command line exactly as it runs in the broker.
//!
//! | module | owns |
//! |---|---|
//! | `file` | the TOML shape and its errors with line and column |
//! | `template` | `sensors/{site}/temp` as filter, variables and topic |
//! | `expression` | CEL: numbers are doubles, names are checked at deploy, every step is counted |
//! | `functions` | what expressions may call, one table for calls, documentation and tests |
//! | `chain` | one compiled chain |
//! | `step` | the kinds of steps, one file each: compiled, bounded, run |
//! | `run` | a message through the steps |
//! | `rules` | what is deployed, for all shards |
//! | `state` | what steps remember, shared by all shards |
//! | `import` | rules of EMQX as chain files |
//! | `check` | a file's own tests, and the trace of one message |

mod chain;
mod check;
mod expression;
mod file;
mod functions;
mod import;
mod place;
mod rules;
mod run;
mod state;
mod step;
mod template;

pub use check::{check, trace};
pub use expression::Limits as ExpressionLimits;
pub use functions::{describe as describe_functions, page as functions_page};
pub use import::{Imported, Remark, import_emqx};
pub use place::RuleError;
pub use rules::{Rules, RulesConfig, ShardChains};
