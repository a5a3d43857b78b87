//! `users`: who may register and call.
//!
//! The bootstrap service keeps the users and hands each change to the overlay as a new version of the user's record. A command
//! that changes one waits until the overlay has acknowledged that version, unless told not to. A change names the version that
//! it was made from, so of two at the same time the second is refused rather than one lost.

mod arguments;
mod report;
mod service;

use std::time::Duration;

use rpc::Role;
use rpc::proto::bootstrap::v1::{DeleteUserRequest, PutUserRequest, UserState};
use runtime::ExitCode;
use sip_core::aor::Aor;
use usage::user::{Strength, not_a_node};

pub(crate) use self::arguments::Command;
use self::arguments::{Change, New};
use self::report::{Effect, List, Report};
use self::service::Users;
use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::names;
use crate::output::Printer;
use crate::{password, terminal};

/// Carries out one of the commands.
pub(crate) async fn run(command: &Command, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Bootstrap)?;
    let timeout = global.timeout;
    let session = Session {
        users: Users::new(&peer, timeout),
        peer: &peer,
        timeout,
        printer,
    };
    match command {
        Command::Add(new) => session.add(new).await,
        Command::List { prefix, removed } => session.list(prefix.as_deref().unwrap_or(""), *removed).await,
        Command::Show { user } => session.show(user).await,
        Command::Passwd { change, password } => session.passwd(change, password).await,
        Command::Disable(change) => session.set_state(change, UserState::Suspended).await,
        Command::Enable(change) => session.set_state(change, UserState::Active).await,
        Command::Rm { change, yes } => session.remove(change, *yes).await,
    }
}

/// What each of the commands needs.
struct Session<'a> {
    peer: &'a Peer,
    users: Users<'a>,
    timeout: Duration,
    printer: &'a Printer,
}

impl Session<'_> {
    async fn add(&self, new: &New) -> Result<ExitCode, Failure> {
        let aor = self.aor(&new.change.user).await?;
        // Found out before somebody types a password twice; that it is still so is for the service to check.
        not_a_node(aor.as_str()).map_err(|error| Failure::usage(format!("user {}: {error}", aor.as_str())))?;
        if self.users.find(&aor).await?.is_some_and(|user| service::exists(&user)) {
            return Err(exists(&aor));
        }
        let request = PutUserRequest {
            aor: aor.as_str().to_owned(),
            password: Some(self.password(&aor, &new.password)?),
            display_name: new.display_name.clone(),
            if_version: Some(0),
            ..PutUserRequest::default()
        };
        let written = self.users.put(request).await?;
        let version = written.ok_or_else(|| exists(&aor))?;
        self.changed(&aor, version, &new.change, Effect::Unknown).await
    }

    async fn list(&self, prefix: &str, removed: bool) -> Result<ExitCode, Failure> {
        let users = self.asking("asking", self.users.list(prefix, removed)).await?;
        self.printer.result(&List::new(&users), List::table)?;
        Ok(ExitCode::Ok)
    }

    async fn show(&self, user: &str) -> Result<ExitCode, Failure> {
        let aor = self.aor(user).await?;
        let found = self.asking("asking", self.users.find(&aor)).await?;
        let user = found.ok_or_else(|| unknown(&aor))?;
        self.printer.result(&Report::new(&user), Report::table)?;
        Ok(ExitCode::Ok)
    }

    async fn passwd(&self, change: &Change, password: &password::Source) -> Result<ExitCode, Failure> {
        let (aor, version) = self.existing(&change.user).await?;
        let request = PutUserRequest {
            aor: aor.as_str().to_owned(),
            password: Some(self.password(&aor, password)?),
            if_version: Some(version),
            ..PutUserRequest::default()
        };
        self.write(&aor, request, change, Effect::OldPassword).await
    }

    /// Reads a password. One that would be found soon is taken, for the operator may know better; one that is none is not.
    fn password(&self, aor: &Aor, source: &password::Source) -> Result<String, Failure> {
        let password = source.read(aor.as_str())?;
        match usage::user::strength(aor.as_str(), &password) {
            Strength::None => Err(Failure::usage(format!(
                "the password of {} is a single character, however often: anybody guesses it",
                aor.as_str()
            ))),
            Strength::Weak(why) => {
                self.printer
                    .warning(&format!("the password of {} is weak: {why}", aor.as_str()));
                Ok(password)
            }
            Strength::Fair => Ok(password),
        }
    }

    async fn set_state(&self, change: &Change, state: UserState) -> Result<ExitCode, Failure> {
        let (aor, version) = self.existing(&change.user).await?;
        let request = PutUserRequest {
            aor: aor.as_str().to_owned(),
            state: state.into(),
            if_version: Some(version),
            ..PutUserRequest::default()
        };
        let effect = match state {
            UserState::Active => Effect::Refused,
            UserState::Suspended | UserState::Removed | UserState::Unspecified => Effect::GoesOn,
        };
        self.write(&aor, request, change, effect).await
    }

    async fn remove(&self, change: &Change, is_sure: bool) -> Result<ExitCode, Failure> {
        let (aor, version) = self.existing(&change.user).await?;
        let question = format!(
            "Remove {}, whose phones then can neither register nor call?",
            aor.as_str()
        );
        if !is_sure && terminal::is_there() && !terminal::confirm(&question)? {
            return Err(Failure::negative("nothing was removed"));
        }
        let request = DeleteUserRequest {
            aor: aor.as_str().to_owned(),
            if_version: Some(version),
        };
        let written = self.users.delete(request).await?;
        let version = written.ok_or_else(|| overtaken(&aor))?;
        self.changed(&aor, version, change, Effect::GoesOn).await
    }

    async fn write(
        &self,
        aor: &Aor,
        request: PutUserRequest,
        change: &Change,
        effect: Effect,
    ) -> Result<ExitCode, Failure> {
        let written = self.users.put(request).await?;
        let version = written.ok_or_else(|| overtaken(aor))?;
        self.changed(aor, version, change, effect).await
    }

    /// Prints what a user has become, once the overlay has it and the edges that serve the user have been told.
    async fn changed(&self, aor: &Aor, version: u64, change: &Change, effect: Effect) -> Result<ExitCode, Failure> {
        let report = if change.no_wait {
            Report::new(&self.users.find(aor).await?.ok_or_else(|| unknown(aor))?)
        } else {
            let what = format!("the overlay stores {}", aor.as_str());
            self.asking(&what, self.users.published(aor, version)).await?;
            let what = format!("the edges of {} are told", aor.as_str());
            Report::told(&self.asking(&what, self.users.told(aor, version)).await?, effect)
        };
        self.printer.result(&report, Report::table)?;
        Ok(ExitCode::Ok)
    }

    /// The AOR and the version of a user who must be there.
    async fn existing(&self, user: &str) -> Result<(Aor, u64), Failure> {
        let aor = self.aor(user).await?;
        let found = self.users.find(&aor).await?.filter(service::exists);
        let version = found.ok_or_else(|| unknown(&aor))?.version;
        Ok((aor, version))
    }

    async fn aor(&self, user: &str) -> Result<Aor, Failure> {
        names::aor_at(self.peer, self.timeout, user).await
    }

    async fn asking<T>(&self, what: &str, answer: impl Future<Output = T>) -> T {
        let spinner = self.printer.spinner(format!("{what} ({})", self.peer.name));
        let answer = answer.await;
        spinner.finish_and_clear();
        answer
    }
}

fn exists(aor: &Aor) -> Failure {
    let aor = aor.as_str();
    Failure::negative(format!(
        "user {aor} exists already; `p2psip users passwd {aor}` gives a new password"
    ))
}

fn unknown(aor: &Aor) -> Failure {
    Failure::negative(format!("there is no user {}", aor.as_str()))
}

fn overtaken(aor: &Aor) -> Failure {
    let aor = aor.as_str();
    Failure::negative(format!(
        "user {aor} was changed by somebody else at the same time: nothing was written, look and try again"
    ))
}
