//! A small file system of its own, to be filled up, or to lose its power.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Workspace;

/// `EXT4_IOC_SHUTDOWN`: the file system stops where it stands.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587d;
/// `EXT4_GOING_FLAGS_NOLOGFLUSH`: and does not write its journal out first.
const NO_LOG_FLUSH: u32 = 2;

const PATH: &str = "/usr/sbin:/sbin:/usr/bin:/bin";

/// An ext4 file system in a file, mounted through a loop device. Unmounted when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    mount: PathBuf,
}

impl LoopDisk {
    /// `None`, said on stderr, where the process may not mount (it takes root and loop devices).
    pub fn mount(workspace: &Workspace, bytes: u64) -> Option<Self> {
        Self::mount_as(workspace, "disk", bytes)
    }

    /// The same where a workspace has several.
    pub fn mount_as(workspace: &Workspace, name: &str, bytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            say("not root: no small disk can be mounted here");
            return None;
        }
        let image = workspace.path().join(format!("{name}.img"));
        let mount = workspace.directory(name);
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("a disk image");
        let disk = Self { image, mount };
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0"], &[&disk.image]);
        let ready = made.and_then(|()| disk.attach());
        ready.map_err(|why| say(&why)).ok().map(|()| disk)
    }

    fn attach(&self) -> Result<(), String> {
        run("mount", &["-o", "loop"], &[&self.image, &self.mount])
    }

    /// The power goes: from here on nothing reaches the disk, and what was not synced is lost.
    ///
    /// # Panics
    /// When the file system cannot be shut down.
    #[expect(unsafe_code, reason = "no safe call shuts a file system down")]
    pub fn cut_power(&self) {
        let root = File::open(&self.mount).expect("the mount point");
        // SAFETY: the request reads the u32 that `Setter` points it to, and nothing else.
        let cut = unsafe {
            let request = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(NO_LOG_FLUSH);
            rustix::ioctl::ioctl(&root, request)
        };
        cut.expect("a file system that can be shut down");
    }

    /// The power comes back. Whoever had files open on the disk has ended.
    ///
    /// # Panics
    /// When the disk cannot be mounted again.
    #[track_caller]
    pub fn restore_power(&self) {
        let back = run("umount", &[], &[&self.mount]).and_then(|()| self.attach());
        back.unwrap_or_else(|why| panic!("the disk does not come back: {why}"));
    }

    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// Takes all the room that is left; gives it back when the file returned is removed.
    pub fn fill(&self) -> PathBuf {
        let path = self.mount.join("filler");
        let mut file = File::create(&path).expect("a file to fill the disk with");
        let mut chunk = vec![1_u8; 1024 * 1024];
        while !chunk.is_empty() {
            match std::io::Write::write(&mut file, &chunk) {
                Ok(_) => {}
                Err(_) => chunk.truncate(chunk.len() / 2),
            }
        }
        let _ = file.sync_all();
        path
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let _ = fs::remove_file(self.mount.join("filler"));
        let _ = run("umount", &["-l"], &[&self.mount]);
    }
}

fn run(program: &str, arguments: &[&str], paths: &[&Path]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).args(paths).env("PATH", PATH).output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        other => Err(format!("{program}: {other:?}")),
    }
}

#[expect(clippy::print_stderr, reason = "a scenario that cannot run here says so")]
fn say(why: &str) {
    eprintln!("loop disk: {why}");
}
