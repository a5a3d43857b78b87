//! Log lines as JSON: one object a line, in which each name stands once.
//!
//! A field that is called as something that each line has (`level`, `target`, …) is written as `field.NAME`, since a reader would
//! keep only one of two equal names, and which one differs from reader to reader.

use std::fmt;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields};
use tracing_subscriber::registry::LookupSpan;

/// Writes an event as one JSON object. The fields of spans must be formatted as JSON too.
pub(super) struct JsonLines;

impl<S, F> FormatEvent<S, F> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: for<'w> FormatFields<'w> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, F>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        let mut line = Line::default();
        line.put("timestamp", time.into());
        line.put("level", metadata.level().as_str().into());
        // What comes over the crate `log` has its target in a field.
        let target = fields.0.remove("log.target");
        line.put("target", target.unwrap_or_else(|| metadata.target().into()));
        if let Some(message) = fields.0.remove("message") {
            line.put("message", message);
        }
        if let Some(span) = context.lookup_current() {
            let mut told = Line::default();
            told.put("name", span.name().into());
            let extensions = span.extensions();
            let formatted = extensions.get::<FormattedFields<F>>();
            let formatted = formatted.and_then(|fields| serde_json::from_str(fields).ok());
            told.put_all(formatted.unwrap_or_default());
            line.put("span", told.into_value());
        }
        line.put_all(fields.0);
        writeln!(writer, "{}", line.into_text()?)
    }
}

/// An object in the order in which it was made.
#[derive(Default)]
struct Line(Vec<(String, Value)>);

impl Line {
    /// Adds a name, under another one if it is there already.
    fn put(&mut self, name: &str, value: Value) {
        let mut name = name.to_owned();
        while self.0.iter().any(|(known, _)| *known == name) {
            name.insert_str(0, "field.");
        }
        self.0.push((name, value));
    }

    fn put_all(&mut self, fields: Map<String, Value>) {
        for (name, value) in fields {
            self.put(&name, value);
        }
    }

    fn into_value(self) -> Value {
        self.0.into_iter().collect::<Map<_, _>>().into()
    }

    fn into_text(self) -> Result<String, fmt::Error> {
        let mut text = String::from("{");
        for (index, (name, value)) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let name = serde_json::to_string(name).map_err(|_| fmt::Error)?;
            text.push_str(&format!("{separator}{name}:{value}"));
        }
        text.push('}');
        Ok(text)
    }
}

/// The fields of an event.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn keep(&mut self, field: &Field, value: Value) {
        // A raw identifier, as r#type, is a name that only Rust has to write so.
        let name = field.name().trim_start_matches("r#");
        self.0.insert(name.to_owned(), value);
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.keep(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.keep(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.keep(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.keep(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.keep(field, value.into());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.keep(field, format!("{value:?}").into());
    }
}
