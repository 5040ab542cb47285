//! One test for each kind of fault: the place, who says so, and the line. Finding C19.

use crate::support::{Case, run};

#[test]
fn a_good_layout_has_none() {
    let case = Case::new("good");
    assert_eq!(case.judge(&["."]), (0, vec![]));
    assert_eq!(case.judge(&["sp_layout.json"]), (0, vec![]));
    let output = run(&["."], &case.dir);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "good\n");
}

// The SPMC manifest.

#[test]
fn no_cpus() {
    let case = Case::new("no_cpus");
    let text = case.read("spmc.dts");
    let (start, end) = (
        text.find("\tcpus {").unwrap(),
        text.find("\tmemory@6300000").unwrap(),
    );
    let case = case.write("spmc.dts", [&text[..start], &text[end..]].concat());
    case.has(&[(
        "firmware",
        "spmc.dts",
        "/ {",
        "/cpus: expected a node for each PE, found nothing",
    )]);
}

#[test]
fn a_device_type_that_is_misspelt() {
    let case = Case::new("device_type").change("spmc.dts", "\"ns-memory\"", "\"ns_memroy\"");
    case.has(&[(
        "spelling",
        "spmc.dts",
        "device_type = \"ns_memroy\"",
        "/memory@80000000: device_type: expected \"memory\" or \"ns-memory\" or \"device-memory\" or \
         \"ns-device-memory\", found \"ns_memroy\": the node is passed over",
    )]);
    let (_, faults) = case.judge(&["."]);
    assert_eq!(faults[0].help.as_deref(), Some("did you mean `ns-memory`?"));
}

#[test]
fn the_device_type_of_a_cpu_that_is_misspelt() {
    let cpu = "device_type = \"cpu\";\n\t\t\treg = <0x0 0x1>;";
    let case = Case::new("cpu_type").change("spmc.dts", cpu, &cpu.replace("\"cpu\"", "\"cpuu\""));
    case.has(&[(
        "spelling",
        "spmc.dts",
        "device_type = \"cpuu\"",
        "/cpus/cpu@1: device_type: expected \"cpu\", found \"cpuu\": the node is passed over",
    )]);
}

#[test]
fn packages_that_overlap() {
    let case = Case::new("overlap").change(
        "spmc.dts",
        "vcpu_count = <1>;\n\t\t\tmem_size = <0x100000>",
        "vcpu_count = <1>;\n\t\t\tmem_size = <0x101000>",
    );
    case.has(&[
        (
            "spmc",
            "spmc.dts",
            "load_address = <0x6300000>",
            "/hypervisor/vm1: load_address: expected a range that no other package has, found \
             0x6300000..0x6401000, which 0x8002 has",
        ),
        (
            "spmc",
            "spmc.dts",
            "load_address = <0x6400000>",
            "/hypervisor/vm2: load_address: expected a range that no other package has, found \
             0x6400000..0x6500000, which 0x8001 has",
        ),
    ]);
}

#[test]
fn a_gap_in_the_numbers() {
    let case = Case::new("gap").change("spmc.dts", "vm1 {", "vm3 {");
    case.has(&[
        (
            "spmc",
            "spmc.dts",
            "vm2 {",
            "/hypervisor/vm2: expected each number from vm1 on before it, found \"a gap\"",
        ),
        (
            "spmc",
            "spmc.dts",
            "vm3 {",
            "/hypervisor/vm3: expected each number from vm1 on before it, found \"a gap\"",
        ),
    ]);
}

#[test]
fn secure_memory_that_is_non_secure_too() {
    let case = Case::new("both_worlds").change(
        "spmc.dts",
        "<0x0 0x80000000 0x0 0x10000000>",
        "<0x0 0x6800000 0x0 0x100000>",
    );
    case.has(&[(
        "spmc",
        "spmc.dts",
        "reg = <0x0 0x6800000",
        "/: ns-memory: expected ranges outside Secure memory, found 0x6800000..0x6900000, which \
         overlaps the one at 0x6300000",
    )]);
}

#[test]
fn the_spmc_in_memory_of_the_normal_world() {
    let case = Case::new("own_memory").change(
        "spmc.dts",
        "<0x0 0x80000000 0x0 0x10000000>",
        "<0x0 0x6100000 0x0 0x100000>",
    );
    case.has(&[(
        "spmc",
        "spmc.dts",
        "reg = <0x0 0x6100000",
        "/: ns-memory: expected ranges outside the SPMC, found 0x6100000..0x6200000, which overlaps \
         the one at 0x6000000",
    )]);
}

#[test]
fn a_package_outside_of_memory() {
    let case = Case::new("outside").change(
        "spmc.dts",
        "<0x0 0x6300000 0x0 0xd00000>",
        "<0x0 0x6400000 0x0 0xc00000>",
    );
    case.has(&[(
        "spmc",
        "spmc.dts",
        "load_address = <0x6300000>",
        "/hypervisor/vm1: load_address: expected a range inside a memory node of the SPMC manifest, \
         found 0x6300000..0x6400000",
    )]);
}

#[test]
fn what_el3_wants_of_attribute() {
    let case = Case::new("attribute")
        .change("spmc.dts", "\t\tbinary_size = <0x200000>;\n", "")
        .change("spmc.dts", "\t\tentrypoint = <0x0 0x6000000>;\n", "");
    case.has(&[
        (
            "firmware",
            "spmc.dts",
            "attribute {",
            "/attribute: binary_size: expected the bytes of the SPMC, without which it has one PE \
             alone, found nothing",
        ),
        (
            "firmware",
            "spmc.dts",
            "attribute {",
            "/attribute: entrypoint: expected the first instruction of the SPMC, found nothing",
        ),
    ]);
    let entry = "entrypoint = <0x0 0x6000000>";
    let outside = "entrypoint = <0x0 0x6200000>";
    Case::new("entrypoint")
        .change("spmc.dts", entry, outside)
        .has(&[(
            "firmware",
            "spmc.dts",
            outside,
            "/attribute: entrypoint: expected an address in 0x6000000..0x6200000, found 0x6200000",
        )]);
}

#[test]
fn an_spmc_manifest_that_bl2_has_no_room_for() {
    let filler = format!(
        "compatible = \"hafnium,hafnium\";\n\t\tfiller = [{}];",
        "00".repeat(4000)
    );
    let case =
        Case::new("too_large").change("spmc.dts", "compatible = \"hafnium,hafnium\";", &filler);
    let (status, faults) = case.judge(&["."]);
    assert_eq!((status, faults.len()), (1, 1), "{faults:?}");
    assert_eq!(faults[0].place, "spmc.dts:0:0");
    let message = "TOS_FW_CONFIG: expected at most 4096 bytes as a blob, found ";
    assert!(faults[0].message.starts_with(message), "{faults:?}");
}

// Partitions.

#[test]
fn a_property_that_is_misspelt() {
    let case = Case::new("misspelt").change("one.dts", "execution-ctx-count", "execution-ctx-cnt");
    // That it is missing is not said again.
    case.has(&[(
        "spelling",
        "one.dts",
        "execution-ctx-cnt",
        "/: execution-ctx-cnt: nobody reads this",
    )]);
    let (_, faults) = case.judge(&["."]);
    assert_eq!(
        faults[0].help.as_deref(),
        Some("did you mean `execution-ctx-count`?")
    );
}

#[test]
fn an_optional_property_and_a_node_that_are_misspelt() {
    let case = Case::new("misspelt_node")
        .change("one.dts", "boot-order", "boot_order")
        .change("one.dts", "device-regions {", "device-region {");
    case.has(&[
        (
            "spelling",
            "one.dts",
            "boot_order",
            "/: boot_order: nobody reads this",
        ),
        (
            "spelling",
            "one.dts",
            "device-region {",
            "/device-region: nobody reads this node",
        ),
    ]);
}

#[test]
fn all_faults_and_not_the_first_alone() {
    let case = Case::new("all")
        .change(
            "one.dts",
            "ffa-version = <0x00010002>",
            "ffa-version = <0x00020000>",
        )
        .change("one.dts", "\texception-level = <2>;\n", "")
        .change("one.dts", "<0x0 0x6600000>", "<0x0 0x6600100>")
        .change("one.dts", "pages-count = <16>", "pages-count = <0>")
        .change(
            "one.dts",
            "interrupts = <40 0xb10>",
            "interrupts = <40 0xb90>",
        )
        .change(
            "two.dts",
            "\texecution-state = <0>;",
            "\texecution-state = <1>;",
        )
        .change("spmc.dts", "\t\tspmc_id = <0x8000>;\n", "");
    case.has(&[
        (
            "spmc",
            "spmc.dts",
            "attribute {",
            "/attribute: spmc_id: expected one 32-bit cell, found nothing",
        ),
        (
            "spmc",
            "one.dts",
            "ffa-version",
            "/: ffa-version: expected a version from 1.0 to 1.2, found 0x20000",
        ),
        (
            "spmc",
            "one.dts",
            "base-address = <0x0 0x6600100>",
            "/memory-regions/heap: base-address: expected a 4 KiB aligned address, found 0x6600100",
        ),
        (
            "spmc",
            "one.dts",
            "pages-count = <0>",
            "/memory-regions/heap: pages-count: expected at least 1, found 0",
        ),
        (
            "spmc",
            "one.dts",
            "interrupts = ",
            "/device-regions/serial: interrupts: expected attributes with a priority below 0x80, \
             found 0xb90",
        ),
        (
            "spmc",
            "one.dts",
            "/ {",
            "/: exception-level: expected one 32-bit cell, found nothing",
        ),
        (
            "spmc",
            "two.dts",
            "execution-state",
            "/: execution-state: expected 0 (AArch64), found 0x1",
        ),
    ]);
}

// Both manifests together.

#[test]
fn memory_of_another_partition() {
    let case = Case::new("stolen").change("one.dts", "<0x0 0x6600000>", "<0x0 0x6400000>");
    case.has(&[(
        "spmc",
        "one.dts",
        "base-address = <0x0 0x6400000>",
        "/memory-regions/heap: base-address: expected a range that no package has, found \
         0x6400000..0x6410000, which 0x8002 has",
    )]);
}

#[test]
fn memory_and_devices_that_the_system_does_not_give() {
    let case = Case::new("not_given")
        .change("one.dts", "<0x0 0x6600000>", "<0x0 0x80000000>")
        .change("one.dts", "<0x0 0x9040000>", "<0x0 0x9050000>");
    case.has(&[
        (
            "spmc",
            "one.dts",
            "base-address = <0x0 0x80000000>",
            "/memory-regions/heap: base-address: expected a range inside a memory node of its \
             security state, found 0x80000000..0x80010000",
        ),
        (
            "spmc",
            "one.dts",
            "base-address = <0x0 0x9050000>",
            "/device-regions/serial: base-address: expected a range inside a device memory node of \
             its security state, found 0x9050000..0x9051000",
        ),
    ]);
}

#[test]
fn what_two_partitions_both_want() {
    let device = "\n\tboot-order = <0>;\n\n\tdevice-regions {\n\t\tcompatible = \"arm,ffa-manifest-device-regions\";\n\
                  \n\t\tserial {\n\t\t\tbase-address = <0x0 0x9040000>;\n\t\t\tpages-count = <1>;\n\t\t\tattributes = <0x3>;\n\
                  \t\t\texclusive-access;\n\t\t\tinterrupts = <40 0xb10>;\n\t\t};\n\t};\n};\n";
    let case = Case::new("both_want").change(
        "two.dts",
        "\tmessaging-method = <7>;\n};\n",
        &format!("\tmessaging-method = <7>;{device}"),
    );
    case.has(&[
        (
            "spmc",
            "two.dts",
            "boot-order",
            "/: boot-order: expected a number that no other partition has, found 0x0, which 0x8001 \
             has",
        ),
        (
            "spmc",
            "two.dts",
            "interrupts = ",
            "/device-regions/serial: interrupts: expected an interrupt that no other partition has, \
             found 0x28, which 0x8001 has",
        ),
        (
            "spmc",
            "two.dts",
            "base-address",
            "/device-regions/serial: base-address: expected a device that no other partition has, \
             found 0x9040000..0x9041000, which 0x8001 has",
        ),
    ]);
}

#[test]
fn what_the_boot_would_say_in_its_log() {
    let case = Case::new("warning").change(
        "two.dts",
        "load-address = <0x6400000>",
        "load-address = <0x6500000>",
    );
    let case = case.change(
        "sp_layout.json",
        "\"pm\": \"two.dts\"",
        "\"pm\": \"two.dts\", \"physical-load-address\": \"0x6400000\"",
    );
    let (status, faults) = case.judge(&["."]);
    assert_eq!(status, 0);
    assert_eq!(faults.len(), 1);
    assert_eq!(faults[0].place, case.place("two.dts", "load-address"));
    assert_eq!(
        faults[0].message,
        "two: load-address: the package is at 0x6400000, not 0x6500000"
    );
    assert_eq!(case.judge(&["--deny-warnings", "."]).0, 1);
}

// sp_layout.json and packages.

#[test]
fn offsets_are_places_in_the_package() {
    let case = Case::new("offsets").change("sp_layout.json", "\"0x4000\"", "\"0x8000\"");
    case.has(&[(
        "layout",
        "one.dts",
        "entrypoint-offset",
        "/: entrypoint-offset: expected a place in the image, which has 0x8000..0xa000 of the \
         package, found 0x4000",
    )]);
    let both = case.change(
        "one.dts",
        "entrypoint-offset = <0x4000>",
        "entrypoint-offset = <0x8000>",
    );
    assert_eq!(both.judge(&["."]), (0, vec![]));
}

#[test]
fn offsets_that_sptool_refuses() {
    for (name, pm, image, at, message) in [
        (
            "pm_behind",
            "0x5000",
            "0x4000",
            "\"0x4000\"",
            "the offset of `pm`, 0x5000, must be below that of `image`, 0x4000",
        ),
        (
            "unaligned",
            "0x1000",
            "0x4100",
            "\"0x4100\"",
            "the offset of `image`, 0x4100, is no multiple of 4 KiB",
        ),
    ] {
        let case = Case::new(name)
            .change("sp_layout.json", "\"0x4000\"", &format!("\"{image}\""))
            .change("sp_layout.json", "\"0x1000\"", &format!("\"{pm}\""));
        case.has(&[("firmware", "sp_layout.json", at, message)]);
    }
}

#[test]
fn a_package_that_is_larger_than_its_memory() {
    let case = Case::new("large").write("two.bin", vec![0; 0x10_0000]);
    case.has(&[(
        "spmc",
        "sp_layout.json",
        "\"two\"",
        "two: not started: package header: image size: expected 1 byte to what mem_size \
         leaves, found 0x100000",
    )]);
}

#[test]
fn a_package_that_is_not_there_twice() {
    let case = Case::new("no_copy")
        .write("two.bin", vec![0; 0x7_d000])
        .change(
            "two.dts",
            "execution-ctx-count = <2>;",
            "execution-ctx-count = <1>;\n\tlifecycle-support;\n\tabort-action = <2>;",
        )
        .change("spmc.dts", "vcpu_count = <2>", "vcpu_count = <1>");
    case.has(&[(
        "spmc",
        "two.dts",
        "abort-action",
        "two: not started: abort-action 2 (restart) needs room for a copy of the package at the end \
         of its memory, and no region there",
    )]);
    let fits = case.write("two.bin", vec![0; 0x7_c000]);
    assert_eq!(fits.judge(&["."]), (0, vec![]));
}

#[test]
fn a_package_for_which_there_is_no_vm_and_the_reverse() {
    let case = Case::new("nowhere").change("sp_layout.json", "0x6300000", "0x6700000");
    case.has(&[
        (
            "layout",
            "spmc.dts",
            "load_address = <0x6300000>",
            "/hypervisor/vm1: load_address: no package of the layout is loaded at 0x6300000",
        ),
        (
            "layout",
            "sp_layout.json",
            "\"0x6700000\"",
            "`one` is loaded at 0x6700000, where no vmN of the SPMC manifest is",
        ),
    ]);
}

#[test]
fn faults_of_sp_layout_json() {
    let case = Case::new("json")
        .change(
            "sp_layout.json",
            "b4b5671e-4a90-4fe1-b81f-fb13dae1dacb",
            "b4b5671e",
        )
        .change(
            "sp_layout.json",
            "\"image\": \"two.bin\"",
            "\"imgae\": \"two.bin\"",
        )
        .change("sp_layout.json", "one.dts", "gone.dts");
    let (status, faults) = case.judge(&["."]);
    assert_eq!(status, 1);
    let found: Vec<_> = faults
        .iter()
        .map(|f| (f.place.clone(), f.message.as_str()))
        .collect();
    let place = |at| case.place("sp_layout.json", at);
    for expected in [
        (
            place("\"imgae\""),
            "`imgae` has no meaning: did you mean `image`?",
        ),
        (place("\"two\""), "`image` is missing"),
        (place("\"gone.dts\""), "there is no gone.dts"),
        (place("\"b4b5671e\""), "`b4b5671e` is no UUID"),
    ] {
        assert!(
            found.contains(&expected),
            "{expected:?} is not in {found:?}"
        );
    }
}

#[test]
fn packages_of_the_same_name() {
    let case = Case::new("same_uuid").change(
        "sp_layout.json",
        "\"pm\": \"two.dts\"",
        "\"pm\": \"two.dts\", \"uuid\": \"B4B5671E-4a90-4fe1-b81f-fb13dae1dacb\"",
    );
    case.has(&[(
        "firmware",
        "sp_layout.json",
        "\"B4B5671E-4a90-4fe1-b81f-fb13dae1dacb\"",
        "`one` has the same UUID",
    )]);
}

#[test]
fn an_image_that_is_not_built_is_a_warning() {
    let case = Case::new("not_built");
    std::fs::remove_file(case.dir.join("two.bin")).unwrap();
    let (status, faults) = case.judge(&["."]);
    assert_eq!(status, 0);
    assert_eq!(faults.len(), 1);
    assert_eq!(
        faults[0].message,
        "not built yet, so no sizes are judged: two.bin"
    );
    assert_eq!(faults[0].place, case.place("sp_layout.json", "\"two.bin\""));
}

#[test]
fn a_package_that_was_made_elsewhere() {
    let packed = |case: &Case, manifest: &str| {
        let dtb = std::process::Command::new("dtc")
            .args(["-q", "-O", "dtb"])
            .arg(case.dir.join(manifest))
            .output()
            .unwrap();
        let usual = sp_layout::Offsets::default();
        sp_layout::pack(sp_layout::Version::V1, usual, &dtb.stdout, &[0; 64]).unwrap()
    };
    let case = Case::new("package_file").change(
        "sp_layout.json",
        "\"image\": \"two.bin\",\n\t\t\"pm\": \"two.dts\"",
        "\"package-file\": \"two.pkg\", \"uuid\": \"d1582309-f023-47b9-827c-4464f5578fc8\",\n\
         \t\t\"physical-load-address\": \"0x6400000\"",
    );
    let package = packed(&case, "two.dts");
    let case = case.write("two.pkg", &package);
    assert_eq!(case.judge(&["."]), (0, vec![]));
    case.write("two.pkg", &package[..0x100])
        .has_messages(&["two: not started: the package ends before its manifest does"]);
    let case = Case::new("package_file_faulty")
        .change(
            "sp_layout.json",
            "\"image\": \"two.bin\",\n\t\t\"pm\": \"two.dts\"",
            "\"package-file\": \"two.pkg\", \"uuid\": \"d1582309-f023-47b9-827c-4464f5578fc8\",\n\
             \t\t\"physical-load-address\": \"0x6400000\"",
        )
        .change("two.dts", "exception-level = <2>", "exception-level = <3>");
    let package = packed(&case, "two.dts");
    case.write("two.pkg", &package)
        .has_messages(&["/: exception-level: expected 1 (S-EL0) or 2 (S-EL1), found 3"]);
}

// tb_fw_config.

const TB_FW_CONFIG: &str = "/dts-v1/;
/ {
	secure-partitions {
		compatible = \"arm,sp\";
		first {
			uuid = \"b4b5671e-4a90-4fe1-b81f-fb13dae1dacb\";
			load-address = <0x6300000>;
		};
		second {
			uuid = \"d1582309-f023-47b9-827c-4464f5578fc8\";
			load-address = <0x6400000>;
		};
	};
};
";

#[test]
fn tb_fw_config_that_says_the_same() {
    let case = Case::new("tb_fw_config").write("tb_fw_config.dts", TB_FW_CONFIG);
    assert_eq!(case.judge(&["."]), (0, vec![]));
}

#[test]
fn tb_fw_config_has_the_last_word() {
    let elsewhere = TB_FW_CONFIG.replace("0x6400000", "0x6500000");
    Case::new("tb_elsewhere")
        .write("tb_fw_config.dts", elsewhere)
        .has(&[
            (
                "layout",
                "spmc.dts",
                "load_address = <0x6400000>",
                "/hypervisor/vm2: load_address: no package of the layout is loaded at 0x6400000",
            ),
            (
                "layout",
                "tb_fw_config.dts",
                "load-address = <0x6500000>",
                "`two` is loaded at 0x6500000, where no vmN of the SPMC manifest is",
            ),
        ]);
}

#[test]
fn faults_of_tb_fw_config() {
    let faulty = TB_FW_CONFIG
        .replace("<0x6300000>", "<0x0 0x6300000>")
        .replace("d1582309", "00000000");
    Case::new("tb_faults")
        .write("tb_fw_config.dts", faulty)
        .has(&[
            (
                "firmware",
                "tb_fw_config.dts",
                "load-address = <0x0 0x6300000>",
                "/secure-partitions/first: load-address: expected one cell, found 2 cells",
            ),
            (
                "firmware",
                "tb_fw_config.dts",
                "uuid = \"00000000",
                "/secure-partitions/second: uuid: expected the UUID of a package, found \
             \"00000000-f023-47b9-827c-4464f5578fc8\"",
            ),
            (
                "firmware",
                "sp_layout.json",
                "\"two\"",
                "tb_fw_config.dts does not name it, so BL2 does not load it",
            ),
        ]);
}

// Single files, sources and the command line.

#[test]
fn files_by_themselves_and_together() {
    let case = Case::new("files").change("one.dts", "<0x0 0x6600000>", "<0x0 0x6400000>");
    assert_eq!(case.judge(&["spmc.dts"]), (0, vec![]));
    // That the region is another's is seen with the SPMC manifest alone.
    assert_eq!(case.judge(&["one.dts", "two.dts"]), (0, vec![]));
    let (status, faults) = case.judge(&["one.dts", "spmc.dts"]);
    assert_eq!((status, faults.len()), (1, 1));
    assert_eq!(
        faults[0].place,
        case.place("one.dts", "base-address = <0x0 0x6400000>")
    );
}

#[test]
fn the_preprocessor_keeps_places() {
    let case = Case::new("preprocessor")
        .change(
            "one.dts",
            "/dts-v1/;",
            "/dts-v1/;\n#include \"regions.h\"\n#include \"heap.dtsi\"",
        )
        .change(
            "one.dts",
            "pages-count = <1>;",
            "pages-count = <PAGES>; /* none */",
        )
        .write("regions.h", "#define PAGES 0\n")
        .write(
            "include/heap.dtsi",
            "/ {\n\tmemory-regions {\n\t\theap { attributes = <0>; };\n\t};\n};\n",
        );
    let (status, faults) = case.judge(&["one.dts"]);
    assert_eq!((status, faults.len()), (1, 1), "{faults:?}");
    assert!(
        faults[0].message.contains("heap.dtsi: No such file"),
        "{faults:?}"
    );
    assert_eq!(faults[0].place, case.place("one.dts", "\"heap.dtsi\""));

    let (status, faults) = case.judge(&["-I", "include", "one.dts"]);
    let places: Vec<_> = faults.iter().map(|fault| fault.place.clone()).collect();
    let expected = [case.place("one.dts", "pages-count = <PAGES>")];
    assert_eq!(
        (status, places.as_slice()),
        (1, expected.as_slice()),
        "{faults:?}"
    );

    let last = case.change("one.dts", "\n\t\theap {", "\n\t\ttmp {");
    let (_, faults) = last.judge(&["-Iinclude", "one.dts"]);
    let places: Vec<_> = faults.iter().map(|fault| fault.place.clone()).collect();
    assert!(
        places.contains(&last.place("include/heap.dtsi", "attributes")),
        "{faults:?}"
    );
}

#[test]
fn a_source_that_is_none() {
    let case = Case::new("syntax").change("one.dts", "xlat-granule = <0>;", "xlat-granule = <0>");
    let (status, faults) = case.judge(&["one.dts"]);
    assert_eq!((status, faults.len()), (1, 1));
    assert_eq!(faults[0].by, "compiler");
    assert_eq!(faults[0].message, "syntax error");
    assert_eq!(faults[0].place, case.place("one.dts", "boot-order"));
}

#[test]
fn blobs_have_no_lines() {
    let case =
        Case::new("blob").change("one.dts", "exception-level = <2>", "exception-level = <3>");
    let status = std::process::Command::new("dtc")
        .args(["-q", "-O", "dtb", "-o", "one.dtb", "one.dts"])
        .current_dir(&case.dir)
        .status();
    assert!(status.unwrap().success());
    let (status, faults) = case.judge(&["one.dtb"]);
    assert_eq!((status, faults.len()), (1, 1));
    assert_eq!(faults[0].place, "one.dtb:0:0");
    let damaged = std::fs::read(case.dir.join("one.dtb")).unwrap();
    case.write("one.dtb", &damaged[..damaged.len() - 40])
        .has_in(
            "one.dtb",
            &["device tree: total size: expected no more than was read, found "],
        );
}

#[test]
fn people_see_the_line() {
    let case =
        Case::new("people").change("two.dts", "execution-state = <0>", "execution-state = <1>");
    let output = run(&["."], &case.dir);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "error[spmc]: /: execution-state: expected 0 (AArch64), found 0x1",
        &case.place("two.dts", "execution-state"),
        "execution-state = <1>;",
        "^^^^^^^^^^^^^^^",
        "1 error, 0 warnings\n",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

#[test]
fn a_wrong_command_has_another_status() {
    let case = Case::new("usage");
    for words in [
        &[][..],
        &["--jsn", "."],
        &["-I"],
        &["nowhere"],
        &["gone.dts"],
    ] {
        let output = run(words, &case.dir);
        assert_eq!(output.status.code(), Some(2), "{words:?}");
        assert!(
            output.stdout.is_empty() && !output.stderr.is_empty(),
            "{words:?}"
        );
    }
    let help = run(&["--help"], &case.dir);
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stdout.starts_with(b"usage: "));
}
