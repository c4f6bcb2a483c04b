//! A small file system of its own, to be filled up.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Workspace;

/// An ext4 file system in a file, mounted through a loop device. Unmounted when dropped.
#[derive(Debug)]
pub struct LoopDisk {
    mount: PathBuf,
}

impl LoopDisk {
    /// `None`, said on stderr, where the process may not mount (it takes root and loop devices).
    pub fn mount(workspace: &Workspace, bytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            say("not root: no small disk can be mounted here");
            return None;
        }
        let image = workspace.path().join("disk.img");
        let mount = workspace.directory("disk");
        File::create(&image).and_then(|file| file.set_len(bytes)).expect("a disk image");
        let path = "/usr/sbin:/sbin:/usr/bin:/bin";
        let run = |program: &str, arguments: &[&str], last: &Path| {
            let mut command = Command::new(program);
            command.args(arguments).arg(&image).env("PATH", path);
            if program == "mount" {
                command.arg(last);
            }
            command.output()
        };
        let made = run("mkfs.ext4", &["-q", "-F", "-m", "0"], &mount);
        if !made.as_ref().is_ok_and(|output| output.status.success()) {
            say(&format!("mkfs.ext4: {made:?}"));
            return None;
        }
        let mounted = run("mount", &["-o", "loop"], &mount);
        if !mounted.as_ref().is_ok_and(|output| output.status.success()) {
            say(&format!("mount: {mounted:?}"));
            return None;
        }
        Some(Self { mount })
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
        let path = "/usr/sbin:/sbin:/usr/bin:/bin";
        let _ = Command::new("umount").arg("-l").arg(&self.mount).env("PATH", path).status();
    }
}

#[expect(clippy::print_stderr, reason = "a scenario that cannot run here says so")]
fn say(why: &str) {
    eprintln!("loop disk: {why}");
}
