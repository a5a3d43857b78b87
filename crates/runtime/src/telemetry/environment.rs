//! The standard variables `OTEL_*` that say whether and how traces are exported.

use std::str::FromStr;
use std::time::Duration;

use super::InitError;

/// What the environment asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Environment {
    /// Whether it names the service itself.
    pub(crate) names_service: bool,
    /// Spans that wait to be sent; further ones are dropped.
    pub(crate) queue: usize,
    /// Spans sent at once.
    pub(crate) batch: usize,
    /// How long a span waits for others.
    pub(crate) delay: Duration,
    /// How long the collector has to take a batch.
    pub(crate) timeout: Duration,
}

impl Environment {
    /// Reads the variables; none if no traces are to be exported, which is so until an endpoint or the exporter is named.
    ///
    /// # Errors
    /// When a variable asks for what is not there.
    pub(crate) fn read(variable: impl Fn(&'static str) -> Option<String>) -> Result<Option<Self>, InitError> {
        let text = |name| variable(name).filter(|text| !text.is_empty());
        let endpoint = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"]
            .into_iter()
            .find_map(|name| Some((name, text(name)?)));
        let is_disabled = text("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        let is_wanted = match text("OTEL_TRACES_EXPORTER").as_deref() {
            None => endpoint.is_some(),
            Some("none") => false,
            Some("otlp") => true,
            Some(other) => return Err(refused("OTEL_TRACES_EXPORTER", other, "it is otlp or none")),
        };
        if is_disabled || !is_wanted {
            return Ok(None);
        }
        if let Some((name, url)) = endpoint.filter(|(_, url)| !url.starts_with("http://")) {
            let why = "it is http://HOST:PORT; to a collector elsewhere let one on this host carry on over TLS";
            return Err(refused(name, &url, why));
        }
        for name in ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"] {
            if let Some(other) = text(name).filter(|protocol| protocol != "grpc") {
                return Err(refused(name, &other, "it is grpc"));
            }
        }
        let queue = number(&text, "OTEL_BSP_MAX_QUEUE_SIZE", 2048)?.max(1);
        let milliseconds = |name, default| number(&text, name, default).map(Duration::from_millis);
        Ok(Some(Self {
            names_service: text("OTEL_SERVICE_NAME").is_some(),
            queue,
            batch: number(&text, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512)?.clamp(1, queue),
            delay: milliseconds("OTEL_BSP_SCHEDULE_DELAY", 5000)?.max(Duration::from_millis(1)),
            timeout: milliseconds("OTEL_BSP_EXPORT_TIMEOUT", 30_000)?,
        }))
    }
}

fn number<N: FromStr>(
    text: &impl Fn(&'static str) -> Option<String>,
    name: &'static str,
    default: N,
) -> Result<N, InitError> {
    match text(name) {
        None => Ok(default),
        Some(value) => value.parse().map_err(|_| refused(name, &value, "it is a whole number")),
    }
}

fn refused(variable: &'static str, value: &str, reason: &'static str) -> InitError {
    InitError::Variable {
        variable,
        value: value.into(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<Environment>, String> {
        let variable = |name: &str| {
            let known = variables.iter().find(|(known, _)| *known == name);
            known.map(|(_, value)| (*value).to_owned())
        };
        Environment::read(variable).map_err(|error| error.to_string())
    }

    const COLLECTOR: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4317");

    #[test]
    fn an_endpoint_turns_it_on_and_nothing_else_by_itself() {
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&[("OTEL_SERVICE_NAME", "mine")]), Ok(None));
        let plain = read(&[COLLECTOR]).unwrap().unwrap();
        assert_eq!(
            (plain.queue, plain.batch, plain.delay),
            (2048, 512, Duration::from_secs(5))
        );
        assert!(!plain.names_service);
        assert!(read(&[("OTEL_TRACES_EXPORTER", "otlp")]).unwrap().is_some());
    }

    #[test]
    fn it_can_be_turned_off() {
        assert_eq!(read(&[COLLECTOR, ("OTEL_SDK_DISABLED", "TRUE")]), Ok(None));
        assert_eq!(read(&[COLLECTOR, ("OTEL_TRACES_EXPORTER", "none")]), Ok(None));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        for (variable, value) in [
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://example.org:4317"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "many"),
        ] {
            let error = read(&[COLLECTOR, (variable, value)]).unwrap_err();
            assert!(error.contains(variable) && error.contains(value), "{error}");
        }
    }

    #[test]
    fn a_batch_is_no_larger_than_the_queue() {
        let small = read(&[COLLECTOR, ("OTEL_BSP_MAX_QUEUE_SIZE", "16")]).unwrap().unwrap();
        assert_eq!((small.queue, small.batch), (16, 16));
    }
}
