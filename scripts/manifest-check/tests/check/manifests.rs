//! One test for each kind of fault in manifests, by themselves and together: the place, the reader
//! that complains, and the message.

use std::path::Path;

use crate::support::{Case, run};

#[test]
fn a_good_layout_has_none() {
    let case = Case::new("good");
    assert_eq!(case.judge(&["."]), (0, vec![]));
    assert_eq!(case.judge(&["sp_layout.json"]), (0, vec![]));
    let output = run(&["."], &case.dir);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with(" pages for tables\ngood\n"), "{text}");
}

/// Returns the line about memory, and the number of pages for tables in it.
fn tables(case: &Case) -> (String, u64) {
    let output = run(&["--json", "."], &case.dir);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let line = report["notes"][0].as_str().unwrap().to_string();
    let words: Vec<&str> = line.split(' ').collect();
    let end = words.len() - "pages for tables".split(' ').count();
    let pages = words[end - 1].parse().unwrap();
    (line, pages)
}

// The pages bound what can be shared.
#[test]
fn the_memory_of_the_spmc_is_said_with_numbers() {
    let (line, pages) = tables(&Case::new("numbers"));
    assert!(
        line.contains(" KiB needed, 2048 in all at 0x6000000; "),
        "{line}"
    );
    let size = |name, size| Case::new(name).change("spmc.dts", "<0x200000>", size);
    let (line, larger) = tables(&size("numbers_larger", "<0x300000>"));
    assert!(line.contains(", 3072 in all at 0x6000000; "), "{line}");
    assert_eq!(larger, pages + 256);
    let given = "vm1 {\n\t\t\tis_ffa_partition;";
    let with = "table-memory = <0x0 0x6f00000 0x0 0x100000>;\n\t\tvm1 {\n\t\t\tis_ffa_partition;";
    let (_, more) = tables(&Case::new("numbers_more").change("spmc.dts", given, with));
    assert!((pages + 250..pages + 256).contains(&more), "{more}");
    // A system that needs more has fewer.
    let shares = "memory-transactions = <2048>;\n\t\tvm1 {\n\t\t\tis_ffa_partition;";
    let (_, fewer) = tables(&Case::new("numbers_fewer").change("spmc.dts", given, shares));
    assert_eq!(fewer, pages - 1024 * 276 / 4096);
}

// Manifests in the forms of the field: what the SPMC takes, the program calls good.
#[test]
fn manifests_of_the_field() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/host/corpus/manifests");
    for file in ["cactus-1.3.dts", "ivy-1.3.dts", "lifecycle-1.3.dts"] {
        let output = run(&[file], &corpus);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{file}: {text}");
        assert!(!text.contains("error"), "{file}: {text}");
    }
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
fn a_device_that_is_the_gic() {
    let gic = "interrupt-controller@8000000 {
\t\tcompatible = \"arm,gic-v3\";
\t\treg = <0x0 0x8000000 0x0 0x10000 0x0 0x80a0000 0x0 0x40000>;
\t};

\tmemory@9040000";
    let case = Case::new("gic")
        .change("spmc.dts", "memory@9040000", gic)
        .change(
            "spmc.dts",
            "0x9040000 0x0 0x1000",
            "0x8000000 0x0 0x2000000",
        )
        .change("one.dts", "<0x0 0x9040000>", "<0x0 0x80d0000>");
    case.has(&[(
        "spmc",
        "one.dts",
        "base-address = <0x0 0x80d0000>",
        "/device-regions/serial: base-address: expected a range outside the GIC, \
         found 0x80d0000..0x80d1000",
    )]);
}

/// A copy of the good layout, which has two PEs, with a GIC whose redistributors are so.
fn with_redistributors(name: &str, size: u64, more: &str) -> Case {
    let gic = format!(
        "interrupt-controller@8000000 {{
\t\tcompatible = \"arm,gic-v3\";
\t\t{more}
\t\treg = <0x0 0x8000000 0x0 0x10000 0x0 0x80a0000 0x0 {size:#x}>;
\t}};

\tmemory@9040000"
    );
    Case::new(name).change("spmc.dts", "memory@9040000", &gic)
}

#[test]
fn regions_of_redistributors_that_are_too_small() {
    let stride = |size: &str| format!("redistributor-stride = <0x0 {size}>;");
    for (name, size, more, found, each) in [
        ("gic_small", 0x2_0000, "".into(), 1, 128),
        ("gic_stride", 0x4_0000, stride("0x40000"), 1, 256),
    ] {
        let case = with_redistributors(name, size, &more);
        let (status, faults) = case.judge(&["."]);
        let [fault] = faults.as_slice() else {
            panic!("{faults:?}");
        };
        assert_eq!(status, 0, "the boot goes on");
        assert_eq!(fault.by, "spmc");
        assert_eq!(
            fault.place,
            case.place("spmc.dts", "reg = <0x0 0x8000000 0x0 0x10000 0x0")
        );
        assert_eq!(
            fault.message,
            format!(
                "/interrupt-controller@8000000: reg: expected redistributors of 2 PEs, found room \
                 for {found} of {each} KiB each"
            )
        );
    }
    // Enough for a GICv3 alone, for both, and by the stride.
    for (name, size, more, says_so) in [
        ("gic_v3", 0x4_0000, "".into(), true),
        ("gic_v4", 0x8_0000, "".into(), false),
        ("gic_exact", 0x4_0000, stride("0x20000"), false),
    ] {
        let case = with_redistributors(name, size, &more);
        assert_eq!(case.judge(&["."]), (0, vec![]), "{name}");
        let text = String::from_utf8(run(&["."], &case.dir).stdout).unwrap();
        let line =
            "GIC: redistributors for 1 of 2 PEs if each takes 256 KiB, as with virtual LPIs\n";
        assert_eq!(text.contains(line), says_so, "{name}: {text}");
    }
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
    // The consequence, a missing property, is not reported again.
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
            "/: ffa-version: expected a version from 1.0 to 1.3, found 0x20000",
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

#[test]
fn what_s_el0_cannot_have() {
    let streams = "interrupts = <40 0xb10>;\n\t\t\tsmmu-id = <1>;\n\t\t\tstream-ids = <7 8>;";
    let case = Case::new("s_el0")
        .change("one.dts", "exception-level = <2>", "exception-level = <1>")
        .change(
            "one.dts",
            "ns-interrupts-action = <2>",
            "ns-interrupts-action = <1>",
        )
        .change(
            "one.dts",
            "pages-count = <16>;\n\t\t\tattributes = <0x3>",
            "pages-count = <16>;\n\t\t\tattributes = <0x7>",
        )
        .change("one.dts", "interrupts = <40 0xb10>;", streams);
    case.has(&[
        (
            "spmc",
            "one.dts",
            "ns-interrupts-action = <1>",
            "/: ns-interrupts-action: expected 0 or 2 for an S-EL0 partition, found 1",
        ),
        (
            "spmc",
            "one.dts",
            "attributes = <0x7>",
            "/memory-regions/heap: attributes: expected not writable and executable, as \
             exception-level is 1 (S-EL0), found 0x7",
        ),
        (
            "spmc",
            "one.dts",
            "stream-ids = <7 8>",
            "/device-regions/serial: stream-ids: expected none, as exception-level is 1 (S-EL0), \
             found 0x7",
        ),
    ]);
}

#[test]
fn memory_for_tables_that_a_device_has() {
    let tables =
        "compatible = \"hafnium,hafnium\";\n\t\ttable-memory = <0x0 0x6900000 0x0 0x10000>;";
    let device = "reg = <0x0 0x9040000 0x0 0x1000\n\t\t       0x0 0x6904000 0x0 0x1000>;";
    let case = Case::new("tables_over_a_device")
        .change("spmc.dts", "compatible = \"hafnium,hafnium\";", tables)
        .change("spmc.dts", "reg = <0x0 0x9040000 0x0 0x1000>;", device);
    case.has(&[(
        "spmc",
        "spmc.dts",
        "table-memory = ",
        "/: table-memory: expected a range without devices, found 0x6900000..0x6910000, which \
         overlaps the one at 0x6904000",
    )]);
}

#[test]
fn an_independent_device_has_no_memory_of_its_own() {
    let device = "stream-endpoints {\n\t\tdma {\n\t\t\tstream-endpoint-id = <0x8100>;\n\t\t\t\
                  smmu-id = <1>;\n\t\t\tstream-ids = <7>;\n\t\t\t\
                  base-address = <0x0 0x6900000>;\n\t\t};\n\t};\n\n\tcpus {";
    let case = Case::new("independent_device").change("spmc.dts", "cpus {", device);
    case.has(&[(
        "spmc",
        "spmc.dts",
        "base-address = ",
        "/stream-endpoints/dma: base-address: expected none: memory comes by transactions only, \
         found 8 bytes",
    )]);
}
