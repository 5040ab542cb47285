//! OP-TEE as a Secure Partition, and its test suite `xtest` in Linux.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::fetch::{Pinned, source, unpack, whole};
use super::initramfs::Initramfs;
use crate::board::QEMU_VIRT;
use crate::process::{logged, step};

const SOURCE: Pinned = Pinned {
    path: "pool/main/o/optee-os/optee-os_4.10.0.orig.tar.gz",
    sha256: "18633691cb075ff2249422251f1cd77c30439a95b564b46682dea1fb6580a5af",
};

/// Build flags for a partition at S-EL1 under an SPMC at S-EL2, which owns the GIC. The build uses
/// Debian's Python, which has the needed modules; another Python in the path may lack them.
const FLAGS: &[&str] = &[
    "PLATFORM=vexpress",
    "PLATFORM_FLAVOR=qemu_armv8a",
    "CFG_ARM64_core=y",
    "CFG_USER_TA_TARGETS=ta_arm64",
    "supported-ta-targets=ta_arm64",
    "CFG_CORE_SEL2_SPMC=y",
    "CFG_ARM_GICV3=n",
    "CFG_CORE_HAFNIUM_INTC=y",
    "CFG_TZDRAM_START=0x0e304000",
    "CFG_TZDRAM_SIZE=0x00cfc000",
    "CFG_CORE_WORKAROUND_NSITR_CACHE_PRIME=n",
    "CFG_TEE_BENCHMARK=n",
    "CFG_TEE_CORE_LOG_LEVEL=2",
    // As many as a layout has.
    "CFG_TEE_CORE_NB_CORE=16",
    "CFG_WERROR=n",
    "CROSS_COMPILE=aarch64-linux-gnu-",
    "CROSS_COMPILE64=aarch64-linux-gnu-",
    "CROSS_COMPILE_core=aarch64-linux-gnu-",
    "CROSS_COMPILE_ta_arm64=aarch64-linux-gnu-",
    "PYTHON3=/usr/bin/python3",
];

/// The software that runs in Linux: libraries, `tee-supplicant`, `xtest` and its trusted
/// applications.
const CLIENT: &[Pinned] = &[
    Pinned {
        path: "pool/main/g/glibc/libc6_2.43-7_arm64.deb",
        sha256: "2315e75157bf67622bb435724de8be3c4c6f5bb33f3f26e8310842ea66093c74",
    },
    Pinned {
        path: "pool/main/o/openssl/libssl3t64_3.6.5-1_arm64.deb",
        sha256: "76770c099cfb06cd48cb0764ac3a7771c8b38e17d25780010d55772dce6b36f8",
    },
    Pinned {
        path: "pool/main/z/zlib/zlib1g_1.3.dfsg+really1.3.2-4_arm64.deb",
        sha256: "aaf9e8cfc7d86771144c660d544806c886a5ae406f97bd50b62588a0718229ab",
    },
    Pinned {
        path: "pool/main/libz/libzstd/libzstd1_1.5.7+dfsg-4_arm64.deb",
        sha256: "e99e6e244d6c80f1c8e96cb68bb04bffc6848b12e3dcc5a35f6a775e4332e936",
    },
    Pinned {
        path: "pool/main/o/optee-client/libteec2_4.11.0-1_arm64.deb",
        sha256: "87f98b5846fb6729a4f074147af97be4f0e1768cffef0a413b95dfbe08f20869",
    },
    Pinned {
        path: "pool/main/o/optee-client/libckteec0t64_4.11.0-1_arm64.deb",
        sha256: "9f9b7a4f81abb03dc1dde49ed9c0a650bd1dcfde448bd04357a1b9e049647b6f",
    },
    Pinned {
        path: "pool/main/o/optee-client/libseteec0t64_4.11.0-1_arm64.deb",
        sha256: "4fd704baa3f626e32754b9929d4d4b24dcc2eb433339fb13a1b689a05cea815b",
    },
    Pinned {
        path: "pool/main/o/optee-client/tee-supplicant_4.11.0-1_arm64.deb",
        sha256: "64f34500cd9bea3e8eeb6b382a3715265a1f2d146662ffe480fab0bca322bb67",
    },
    Pinned {
        path: "pool/main/o/optee-test/optee-test-qemu_4.10.0-1_arm64.deb",
        sha256: "eda7e86e7af7892d586856060e5e5b68a507b40773e24e4b5e09cf5ad4b06ad2",
    },
];

/// The libraries of `xtest` and `tee-supplicant`.
const LIBRARIES: &[&str] = &[
    "ld-linux-aarch64.so.1",
    "libc.so.6",
    "libm.so.6",
    "libcrypto.so.3",
    "libz.so.1",
    "libzstd.so.1",
    "libteec.so.2",
    "libckteec.so.0",
    "libseteec.so.0",
];

/// Builds OP-TEE unless that was done before, and copies its image to where layouts look for it.
/// Returns the folder of the build.
pub fn build() -> Result<PathBuf> {
    let source = source("optee-os-source", &SOURCE)?;
    let mut key = vec![SOURCE.sha256];
    key.extend(FLAGS);
    let build = whole("optee-os", &key, |products| {
        step("building OP-TEE", || compile(&source, products))
    })?;
    fs::create_dir_all(QEMU_VIRT.guests())?;
    fs::copy(build.join("tee.bin"), QEMU_VIRT.guests().join("optee.bin"))?;
    Ok(build)
}

fn compile(source: &Path, products: &Path) -> Result<()> {
    let work = products.join("work");
    let jobs = std::thread::available_parallelism()?;
    logged(
        Command::new("make")
            .current_dir(source)
            .env_remove("MAKEFLAGS")
            .arg(format!("-j{jobs}"))
            .args(FLAGS)
            .arg(format!("O={}", work.display())),
        &super::fetch::folder().join("optee-os.log"),
    )?;
    fs::copy(work.join("core/tee-raw.bin"), products.join("tee.bin"))?;
    fs::create_dir_all(products.join("ta"))?;
    for application in files(&work.join("ta"), "ta", 1)? {
        fs::copy(&application, products.join("ta").join(name(&application)?))?;
    }
    fs::remove_dir_all(&work)?;
    Ok(())
}

/// Adds the test suite and the trusted applications of `build` to a file system.
pub fn install(build: &Path, initramfs: &mut Initramfs) -> Result<()> {
    let packages: Vec<&Pinned> = CLIENT.iter().collect();
    let root = unpack("optee-client", &packages)?;
    for library in LIBRARIES {
        let from = root.join("usr/lib/aarch64-linux-gnu").join(library);
        initramfs.copy(&format!("lib/{library}"), &from)?;
    }
    initramfs.copy("bin/xtest", &root.join("usr/bin/xtest"))?;
    initramfs.copy("bin/tee-supplicant", &root.join("usr/sbin/tee-supplicant"))?;
    let plugins = "usr/lib/tee-supplicant/plugins";
    for plugin in files(&root.join(plugins), "plugin", 0)? {
        initramfs.copy(&format!("{plugins}/{}", name(&plugin)?), &plugin)?;
    }
    initramfs.directory("var/lib/optee-client/data/tee");
    let tests = files(&root.join("usr/lib/optee_armtz"), "ta", 0)?;
    for application in tests.into_iter().chain(files(&build.join("ta"), "ta", 0)?) {
        let to = format!("lib/optee_armtz/{}", name(&application)?);
        initramfs.copy(&to, &application)?;
    }
    Ok(())
}

fn name(path: &Path) -> Result<&str> {
    let name = path.file_name().and_then(|name| name.to_str());
    name.with_context(|| format!("{}: no name", path.display()))
}

/// Returns the files with an extension in a folder and in its subfolders down to `depth`.
fn files(folder: &Path, extension: &str, depth: u32) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && depth > 0 {
            found.extend(files(&path, extension, depth - 1)?);
        } else if path.extension().is_some_and(|found| found == extension) {
            found.push(path);
        }
    }
    Ok(found)
}
