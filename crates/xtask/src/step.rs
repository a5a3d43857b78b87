//! One command of a task: shown before it runs, timed, and repeatable by hand when it fails.

use std::fmt;
use std::io::{BufRead as _, BufReader, IsTerminal as _, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

/// A command with its name, environment and folder.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    name: String,
    program: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

/// What a finished step leaves for the summary.
#[derive(Clone, Debug)]
pub(crate) struct Done {
    pub(crate) name: String,
    pub(crate) took: Duration,
    /// The closing line of a test run.
    pub(crate) closing: Option<String>,
}

impl Step {
    pub(crate) fn new(name: &str, program: &str, arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Self {
            name: name.into(),
            program: program.into(),
            arguments,
            environment: Vec::new(),
            folder: None,
        }
    }

    pub(crate) fn cargo(name: &str, arguments: &[&str]) -> Self {
        Self::new(name, "cargo", arguments)
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    pub(crate) fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.folder = Some(folder.into());
        self
    }

    pub(crate) fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.arguments.extend(arguments.into_iter().map(str::to_owned));
        self
    }

    /// Runs it with its output passed through.
    pub(crate) fn run(&self) -> anyhow::Result<Done> {
        self.announce();
        let began = Instant::now();
        let status = self
            .command()
            .status()
            .with_context(|| format!("cannot start: {self}"))?;
        self.finish(began, status.success(), None)
    }

    /// Runs it and returns what it writes to standard output.
    pub(crate) fn output(&self) -> anyhow::Result<String> {
        self.announce();
        let began = Instant::now();
        let mut command = self.command();
        command.stderr(Stdio::inherit());
        let output = command.output().with_context(|| format!("cannot start: {self}"))?;
        self.finish(began, output.status.success(), None)?;
        String::from_utf8(output.stdout).with_context(|| format!("not text, from: {self}"))
    }

    /// Runs tests: the output passes through, and the closing lines are kept.
    pub(crate) fn run_tests(&self) -> anyhow::Result<Done> {
        self.announce();
        let began = Instant::now();
        let mut command = self.command();
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        if std::io::stderr().is_terminal() {
            command.env("CARGO_TERM_COLOR", "always");
        }
        let mut child = command.spawn().with_context(|| format!("cannot start: {self}"))?;
        let (lines, received) = mpsc::channel();
        let readers = [
            child.stdout.take().map(|stream| forward(stream, lines.clone())),
            child.stderr.take().map(|stream| forward(stream, lines)),
        ];
        let mut closing = Closing::default();
        for line in received {
            eprintln!("{line}");
            closing.read(&line);
        }
        for reader in readers.into_iter().flatten() {
            let _ = reader.join();
        }
        let status = child.wait().with_context(|| format!("cannot wait for: {self}"))?;
        self.finish(began, status.success(), closing.line())
    }

    fn announce(&self) {
        eprintln!("\n=== {}: {self}", self.name);
    }

    fn command(&self) -> Command {
        let mut command = match self.program.as_str() {
            // The cargo that runs us, whatever PATH says.
            "cargo" => Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())),
            other => Command::new(other),
        };
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    fn finish(&self, began: Instant, is_success: bool, closing: Option<String>) -> anyhow::Result<Done> {
        let took = began.elapsed();
        if !is_success {
            bail!(
                "{} failed after {:.1} s; repeat it with:\n    {self}",
                self.name,
                took.as_secs_f64()
            );
        }
        eprintln!("=== {}: ok, {:.1} s", self.name, took.as_secs_f64());
        Ok(Done {
            name: self.name.clone(),
            took,
            closing,
        })
    }
}

/// As one would type it.
impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(folder) = &self.folder {
            write!(f, "cd {} && ", folder.display())?;
        }
        for (name, value) in &self.environment {
            write!(f, "{name}={} ", quote(value))?;
        }
        f.write_str(&self.program)?;
        self.arguments
            .iter()
            .try_for_each(|argument| write!(f, " {}", quote(argument)))
    }
}

fn quote(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_=+./:,@".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        text.into()
    } else {
        format!("'{text}'")
    }
}

fn forward(stream: impl Read + Send + 'static, lines: mpsc::Sender<String>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).split(b'\n').map_while(Result::ok) {
            if lines.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
        }
    })
}

/// Gathers what the test runners say at their end: one line from nextest, one for each binary from `cargo test`.
#[derive(Debug, Default)]
struct Closing {
    nextest: Option<String>,
    passed: u64,
    failed: u64,
    binaries: u64,
}

impl Closing {
    fn read(&mut self, line: &str) {
        let line = strip_colours(line);
        let line = line.trim();
        if line.starts_with("Summary [") {
            self.nextest = Some(line.to_owned());
        } else if let Some(counts) = line.strip_prefix("test result: ") {
            let count = |what: &str| {
                let part = counts
                    .split([';', '.'])
                    .map(str::trim)
                    .find_map(|part| part.strip_suffix(what));
                part.and_then(|part| part.trim().parse::<u64>().ok()).unwrap_or(0)
            };
            self.passed += count("passed");
            self.failed += count("failed");
            self.binaries += 1;
        }
    }

    fn line(self) -> Option<String> {
        let Self {
            nextest,
            passed,
            failed,
            binaries,
        } = self;
        nextest.or_else(|| {
            (binaries > 0)
                .then(|| format!("test result: {passed} passed; {failed} failed, in {binaries} test binaries"))
        })
    }
}

/// Removes the escape sequences of colours.
fn strip_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        if c == '\x1b' {
            rest.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(c);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_shown_as_one_would_type_it() {
        let step = Step::cargo("doc", &["doc", "--no-deps"])
            .environment("RUSTDOCFLAGS", "-D warnings")
            .folder("a/b");
        assert_eq!(
            step.to_string(),
            "cd a/b && RUSTDOCFLAGS='-D warnings' cargo doc --no-deps"
        );
    }

    #[test]
    fn the_closing_line_of_nextest_is_kept() {
        let mut closing = Closing::default();
        closing.read("        PASS [   0.004s] p2psip-rpc deadline::tests::passing_on_leaves_a_margin");
        closing.read("\x1b[32;1m     Summary\x1b[0m [   1.2s] \x1b[1m53\x1b[0m tests run: 53 passed, 0 skipped");
        assert_eq!(
            closing.line().unwrap(),
            "Summary [   1.2s] 53 tests run: 53 passed, 0 skipped"
        );
    }

    #[test]
    fn the_closing_lines_of_cargo_test_are_added_up() {
        let mut closing = Closing::default();
        closing.read("test result: ok. 12 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s");
        closing
            .read("test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s");
        assert_eq!(
            closing.line().unwrap(),
            "test result: 16 passed; 2 failed, in 2 test binaries"
        );
    }

    #[test]
    fn a_failure_says_how_to_repeat_it() {
        let error = Step::new("no", "false", &[]).run().unwrap_err().to_string();
        assert!(error.contains("repeat it with:\n    false"), "{error}");
    }
}
