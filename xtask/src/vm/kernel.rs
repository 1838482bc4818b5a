//! The old kernel: Debian's package, unpacked below `target/`, never installed.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process::{command, output, say};
use crate::workspace::Workspace;

/// What depends on the newest kernel of the release, for virtual machines of clouds: small, and without
/// drivers of hardware.
const META: &str = "linux-image-cloud-amd64";

/// The kernel that netd still has to run on.
pub(super) const RELEASE: &str = "6.1";

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(super) struct Kernel {
    root: PathBuf,
    /// Such as `6.1.0-56-cloud-amd64`.
    pub(super) release: String,
}

impl Kernel {
    /// Downloads and unpacks it unless that was done before.
    ///
    /// # Errors
    /// Where this system's packages have no such kernel.
    pub(super) fn ensure(workspace: &Workspace) -> Result<Self> {
        let root = workspace.target().join("vm/kernel");
        if let Some(kernel) = Self::at(&root) {
            return Ok(kernel);
        }
        let package = package()?;
        say(&format!("vm: downloading {package}"));
        let download = workspace.target().join("vm/download");
        for directory in [&root, &download] {
            drop(fs::remove_dir_all(directory));
            fs::create_dir_all(directory).context("make a directory for the kernel")?;
        }
        output(
            command("apt-get")
                .args(["-qq", "download", &package])
                .current_dir(&download),
        )?;
        let files = fs::read_dir(&download).context("look for the package")?;
        let file = files.flatten().next().context("no package has come")?;
        output(command("dpkg-deb").arg("-x").arg(file.path()).arg(&root))?;
        let modules = fs::read_dir(root.join("lib/modules")).context("look for modules")?;
        let release = modules.flatten().next().context("no modules")?.file_name();
        output(command("depmod").arg("-b").arg(&root).arg(&release))?;
        fs::remove_dir_all(&download).context("remove the package")?;
        Self::at(&root).context("the package has no kernel")
    }

    fn at(root: &Path) -> Option<Self> {
        let mut modules = fs::read_dir(root.join("lib/modules")).ok()?.flatten();
        let release = modules.next()?.file_name().into_string().ok()?;
        let kernel = Self {
            root: root.to_path_buf(),
            release,
        };
        let is_ready = kernel.modules().join("modules.dep.bin").is_file();
        (is_ready && kernel.image().is_file()).then_some(kernel)
    }

    /// The kernel itself.
    pub(super) fn image(&self) -> PathBuf {
        self.root
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// Its modules.
    pub(super) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// The package of the kernel.
fn package() -> Result<String> {
    let depends = output(command("apt-cache").args(["depends", META]))
        .context("ask for the kernel's package")?;
    let package = depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .find(|package| package.contains("linux-image-"));
    match package {
        Some(package) if package.contains(&format!("-{RELEASE}.")) => Ok(package.to_owned()),
        Some(package) => bail!(
            "this system has {package}, no kernel {RELEASE}: unpack one of Debian 12 into \
             target/vm/kernel, and run `depmod -b target/vm/kernel RELEASE`"
        ),
        None => bail!("this system's package lists have no {META}; `apt-get update` may help"),
    }
}
