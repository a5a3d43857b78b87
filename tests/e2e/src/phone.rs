//! baresip as a softphone: registers at an edge, plays a tone, records what it hears.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::sipp::Transport;
use crate::{DOMAIN, Namespace, PASSWORD, eventually, tone};

/// One running softphone; killed when dropped.
#[derive(Debug)]
pub struct Phone {
    child: Child,
    folder: PathBuf,
    output: Arc<Mutex<String>>,
    // baresip ends when its standard input does.
    _input: ChildStdin,
}

/// What to make of it.
#[derive(Debug)]
pub struct Setup<'a> {
    /// User name; the password is the demo users'.
    pub user: &'a str,
    /// Its own SIP port; the next one up is taken for TLS.
    pub port: u16,
    /// SIP port of the edge on 127.0.0.1.
    pub edge: u16,
    /// Toward the edge.
    pub transport: Transport,
    /// Frequency of the tone that it plays.
    pub hertz: f32,
    /// Called once registered; a phone without it answers by itself.
    pub dials: Option<&'a str>,
}

impl Phone {
    /// Starts it with its configuration in `folder`.
    ///
    /// # Panics
    /// When baresip is missing or the folder cannot be written.
    pub fn start(namespace: &Namespace, folder: &Path, setup: &Setup<'_>) -> Self {
        fs::create_dir_all(folder).expect("a folder for the phone");
        tone::write(&folder.join("tone.wav"), setup.hertz, 30).expect("a tone to play");
        fs::write(folder.join("config"), config(folder, setup)).expect("a configuration");
        let transport = if setup.transport == Transport::Tcp {
            ";transport=tcp"
        } else {
            ""
        };
        let answer = if setup.dials.is_none() { ";answermode=auto" } else { "" };
        let account = format!(
            "<sip:{user}@{DOMAIN}{transport}>;auth_pass={PASSWORD};regint=60;outbound=\"sip:127.0.0.1:{edge}{transport}\"{answer}\n",
            user = setup.user,
            edge = setup.edge
        );
        fs::write(folder.join("accounts"), account).expect("an account");
        let mut command = namespace.command("baresip");
        command
            .arg("-f")
            .arg(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("baresip (package baresip) starts");
        let input = child.stdin.take().expect("piped above");
        let output = Arc::new(Mutex::new(String::new()));
        crate::dev::collect(child.stdout.take().expect("piped above"), &output);
        crate::dev::collect(child.stderr.take().expect("piped above"), &output);
        let mut phone = Self {
            child,
            folder: folder.to_owned(),
            output,
            _input: input,
        };
        phone.wait_for("200 OK");
        if let Some(callee) = setup.dials {
            phone.dial(callee);
        }
        phone
    }

    fn dial(&mut self, callee: &str) {
        use std::io::Write;
        writeln!(self._input, "/dial sip:{callee}@{DOMAIN}").expect("baresip reads its standard input");
    }

    /// Waits until the phone has printed `text`.
    ///
    /// # Panics
    /// After 20 s.
    pub fn wait_for(&self, text: &str) {
        eventually(&format!("{text:?} from the phone"), Duration::from_secs(20), || {
            let output = self.output.lock().expect("no reader panics");
            if output.contains(text) {
                Ok(())
            } else {
                Err(output.clone())
            }
        });
    }

    /// Waits until most of what the phone hears is a tone of `hertz`.
    ///
    /// # Panics
    /// After 20 s.
    pub fn hears(&self, hertz: f32) {
        eventually(&format!("a tone of {hertz} Hz"), Duration::from_secs(20), || {
            let recording = fs::read_dir(&self.folder)
                .map_err(|error| error.to_string())?
                .flatten()
                .map(|entry| entry.path());
            let recording = recording
                .into_iter()
                .find(|path| path.to_string_lossy().ends_with("-dec.wav"))
                .ok_or("no recording yet")?;
            match tone::share(&recording, hertz) {
                Ok(share) if share > 0.5 => Ok(()),
                Ok(share) => Err(format!("share {share}")),
                Err(error) => Err(error.to_string()),
            }
        });
    }
}

impl Drop for Phone {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(folder: &Path, setup: &Setup<'_>) -> String {
    let folder = folder.display();
    let port = setup.port;
    let media = 20_000 + 100 * (port % 100);
    format!(
        "poll_method epoll\nsip_listen 127.0.0.1:{port}\nnet_interface 127.0.0.1\n\
         audio_source aufile,{folder}/tone.wav\naudio_player aufile,{folder}/played.wav\naudio_alert aufile,{folder}/alert.wav\n\
         audio_channels 1\nausrc_srate 8000\nauplay_srate 8000\nrtp_ports {media}-{last}\nsnd_path {folder}\n\
         module_path /usr/lib/baresip/modules\nmodule stdio.so\nmodule g711.so\nmodule aufile.so\nmodule sndfile.so\n\
         module_tmp account.so\nmodule_app menu.so\n",
        last = media + 99
    )
}
