//! What a process tells about itself: log lines on stderr, and traces for a collector.
//!
//! `RUST_LOG` chooses what is told, `P2PSIP_LOG_FORMAT=json` how. The standard variables `OTEL_*` turn on the export of traces; without it spans
//! have no ids and cost next to nothing.

mod environment;
mod export;
pub mod field;
mod ids;
mod json;
mod pii;
mod sampling;
mod service;

use std::io::IsTerminal as _;
use std::sync::OnceLock;
use std::time::Duration;

use opentelemetry::trace::TraceId;
use serde::{Deserialize, Serialize};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use environment::Environment;
use export::Exporter;
use json::JsonLines;
use service::{Services, Tracers};

pub(crate) use export::dropped;
pub use ids::identified;
pub use pii::{Pii, Privacy, Suspect, set_privacy};
pub(crate) use service::COMPONENT;

/// The section `[telemetry]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How user names and addresses of people are shown: `full`, `hash` (the same person looks the same) or `off`. Default: hash.
    pub identity: Privacy,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people; in colours only on a terminal.
    Text,
    /// One JSON object a line.
    Json,
}

/// What to tell, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The filter in the syntax of `RUST_LOG`.
    pub filter: String,
    /// How lines look.
    pub format: Format,
    /// Whether names and addresses of people are shown.
    pub privacy: Privacy,
}

/// A layer of choice; give it a filter of its own.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The filter is malformed.
    #[error("RUST_LOG \"{filter}\" is malformed: {reason}")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        reason: String,
    },
    /// The format is unknown.
    #[error("P2PSIP_LOG_FORMAT \"{format}\" is unknown: it is text or json")]
    Format {
        /// The format.
        format: String,
    },
    /// A variable of OpenTelemetry asks for what is not there.
    #[error("{variable} \"{value}\" cannot be followed: {reason}")]
    Variable {
        /// The variable.
        variable: &'static str,
        /// Its value.
        value: String,
        /// Why.
        reason: &'static str,
    },
    /// It had been started before.
    #[error("telemetry was already started")]
    Again,
}

impl Options {
    /// What the environment asks for, and `filter` where it asks for nothing.
    ///
    /// # Errors
    /// When `P2PSIP_LOG_FORMAT` names no format.
    pub fn of_process(filter: &str) -> Result<Self, InitError> {
        let filter = std::env::var("RUST_LOG")
            .ok()
            .filter(|text| !text.is_empty())
            .unwrap_or_else(|| filter.into());
        let format = match std::env::var("P2PSIP_LOG_FORMAT").ok().as_deref() {
            None | Some("" | "text") => Format::Text,
            Some("json") => Format::Json,
            Some(other) => return Err(InitError::Format { format: other.into() }),
        };
        Ok(Self {
            filter,
            format,
            privacy: Privacy::Hash,
        })
    }
}

/// Starts telemetry for the whole process, on stderr. If the environment asks for traces, their export begins.
///
/// # Errors
/// When the filter or the environment is malformed, or telemetry was started before.
///
/// # Panics
/// Outside a tokio runtime, if traces are exported.
pub fn init(options: &Options) -> Result<(), InitError> {
    init_with(options, None)
}

/// Starts telemetry with one more listener: a layer that sees all events, whatever the log shows.
///
/// # Errors
/// As [`init`].
///
/// # Panics
/// As [`init`].
pub fn init_with(options: &Options, listener: Option<Listener>) -> Result<(), InitError> {
    let environment = Environment::read(|name| std::env::var(name).ok())?;
    set_privacy(options.privacy);
    let has_colours = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
    let exporter = environment.map(|environment| EXPORTER.get_or_init(|| Exporter::start(environment)));
    subscriber(options, listener, exporter, has_colours, std::io::stderr)?
        .try_init()
        .map_err(|_| InitError::Again)
}

/// Sends the last traces, if any are exported; the end of a process waits for it at most so long.
pub async fn flush(within: Duration) {
    if let Some(exporter) = EXPORTER.get() {
        exporter.flush(within).await;
    }
}

/// Whether a trace that begins here is recorded, by its id; none if no traces are exported.
#[must_use]
pub fn sampler() -> Option<fn([u8; 16]) -> bool> {
    EXPORTER.get().map(|_| {
        let records: fn([u8; 16]) -> bool = |trace_id| {
            EXPORTER
                .get()
                .is_some_and(|exporter| exporter.records(TraceId::from_bytes(trace_id)))
        };
        records
    })
}

/// Set when the export of traces begins, once in a process.
static EXPORTER: OnceLock<Exporter> = OnceLock::new();

/// Builds what [`init`] installs, for a writer of choice.
fn subscriber<W>(
    options: &Options,
    listener: Option<Listener>,
    exporter: Option<&Exporter>,
    has_colours: bool,
    writer: W,
) -> Result<impl Subscriber + Send + Sync, InitError>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder()
        .parse(&options.filter)
        .map_err(|error| InitError::Filter {
            filter: options.filter.clone(),
            reason: error.to_string(),
        })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines = match options.format {
        Format::Text => lines.with_ansi(has_colours).boxed(),
        Format::Json => lines.fmt_fields(JsonFields::new()).event_format(JsonLines).boxed(),
    };
    Ok(tracing_subscriber::registry()
        .with(listener)
        .with(lines.with_filter(filter))
        .with(exporter.map(|exporter| Services(exporter.clone()).with_filter(filter_fn(is_component))))
        .with(exporter.map(spans)))
}

/// Turns our spans, and the events in them, into OpenTelemetry's.
fn spans<S>(exporter: &Exporter) -> impl Layer<S> + use<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let tracers = Tracers {
        process: exporter.tracer("process", ""),
    };
    let is_ours = |metadata: &Metadata<'_>| {
        metadata.target().starts_with("p2psip") && *metadata.level() <= Level::INFO && !is_component(metadata)
    };
    tracing_opentelemetry::layer()
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_target(false)
        .with_tracer(tracers)
        .with_filter(filter_fn(is_ours))
}

fn is_component(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.name() == COMPONENT
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Lines {
        fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(octets);
            Ok(octets.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn told(format: Format, filter: &str) -> String {
        told_by(format, filter, || {
            tracing::info!({ field::NODE_ID } = "a1b2c3d4", peers = 5, "joined ring");
            tracing::debug!("a decision");
        })
    }

    fn told_by(format: Format, filter: &str, tell: impl FnOnce()) -> String {
        let lines = Lines::default();
        let options = Options {
            filter: filter.into(),
            format,
            privacy: Privacy::Hash,
        };
        let writer = lines.clone();
        let subscriber = subscriber(&options, None, None, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, tell);
        lines.text()
    }

    #[test]
    fn lines_follow_the_filter() {
        let text = told(Format::Text, "warn,p2psip=info");
        assert!(
            text.contains("joined ring node_id=\"a1b2c3d4\" peers=5") && !text.contains("a decision"),
            "{text}"
        );
        assert!(!text.contains('\x1b'), "{text}");
        assert!(told(Format::Text, "p2psip=debug").contains("a decision"));
        assert!(told(Format::Text, "off").is_empty());
    }

    #[test]
    fn json_lines_are_objects() {
        let text = told(Format::Json, "info");
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert!(text.starts_with("{\"timestamp\":") && text.ends_with("}\n"), "{text}");
        let fields = ["level", "message", "node_id", "peers"].map(|name| line[name].to_string());
        assert_eq!(fields, ["\"INFO\"", "\"joined ring\"", "\"a1b2c3d4\"", "5"]);
    }

    /// Reads an object and all objects in it, whatever names they have; a name that comes twice is an error.
    struct Names(Vec<String>);

    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            struct Visitor;

            impl<'de> serde::de::Visitor<'de> for Visitor {
                type Value = Names;

                fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                    f.write_str("an object")
                }

                fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
                    let mut names = Vec::new();
                    while let Some(name) = map.next_key::<String>()? {
                        if name == "span" {
                            map.next_value::<Names>()?;
                        } else {
                            map.next_value::<serde::de::IgnoredAny>()?;
                        }
                        if names.contains(&name) {
                            return Err(serde::de::Error::custom(format!("{name} comes twice")));
                        }
                        names.push(name);
                    }
                    Ok(Names(names))
                }
            }

            deserializer.deserialize_map(Visitor)
        }
    }

    #[test]
    fn a_json_line_has_each_name_once() {
        let text = told_by(Format::Json, "info", || {
            let component = crate::Monitor::new().component("overlay", "a1b2c3d4");
            let _entered = component.span().entered();
            tracing::info!("begins");
            let span = tracing::info_span!("request", name = "mine", count = tracing::field::Empty);
            span.record("count", 1);
            span.record("count", 2);
            let _entered = span.entered();
            tracing::info!(
                target = "a",
                level = 7,
                span = true,
                timestamp = 1,
                "all that each line has"
            );
        });
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2);
        for line in &lines {
            let names = serde_json::from_str::<Names>(line).map(|names| names.0);
            assert!(names.is_ok_and(|names| names.len() >= 5), "{line}");
        }
        let last: serde_json::Value = serde_json::from_str(lines[1]).unwrap();
        assert_eq!(last["field.level"], 7);
        assert_eq!(last["span"]["field.name"], "mine");
        assert_eq!(last["span"]["count"], 2);
    }

    #[test]
    fn a_malformed_filter_is_named() {
        let options = Options {
            filter: "p2psip=loud".into(),
            format: Format::Text,
            privacy: Privacy::Hash,
        };
        let error = subscriber(&options, None, None, false, io::sink)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("p2psip=loud"), "{error}");
    }
}
