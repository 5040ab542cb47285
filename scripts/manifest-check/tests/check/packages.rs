//! One test for each kind of fault in `sp_layout.json`, packages and `tb_fw_config`: the place, the
//! reader that complains, and the message.

use crate::support::Case;

// BL2 of TF-A reads `load-address` of a package by `fdt_read_uint32`.
#[test]
fn a_package_above_4_gib() {
    let case = Case::new("above")
        .change("sp_layout.json", "0x6300000", "0x106300000")
        .change("one.dts", "<0x6300000>", "<0x1 0x6300000>")
        .change("spmc.dts", "<0x6300000>", "<0x1 0x6300000>");
    let (_, faults) = case.judge(&["."]);
    let mut faults = faults.iter();
    let fault = faults.find(|fault| fault.by == "firmware").unwrap();
    assert_eq!(
        fault.message,
        "`one`: load-address: expected an address below 4 GiB, since BL2 reads one cell, \
         found 0x106300000"
    );
}

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
fn no_room_for_the_packages_of_a_live_activation() {
    let case = Case::new("live_copies")
        .write("two.bin", vec![0; 0x4_1000])
        .change(
            "two.dts",
            "execution-ctx-count = <2>;",
            "execution-ctx-count = <1>;\n\tlifecycle-support;\n\tlive-activation-support;\n\t\
             live-activation-register = <1>;\n\timage-uuid = <1 2 3 4>;",
        )
        .change("spmc.dts", "vcpu_count = <2>", "vcpu_count = <1>");
    let (status, faults) = case.judge(&["."]);
    let place = case.place("two.dts", "live-activation-support");
    let found: Vec<_> = faults
        .iter()
        .map(|fault| (fault.place.as_str(), fault.message.as_str()))
        .collect();
    let message = "two: no room for two copies of its package: its image cannot be replaced";
    assert_eq!((status, found), (0, vec![(place.as_str(), message)]));
    let fits = case.write("two.bin", vec![0; 0x4_0000]);
    assert_eq!(fits.judge(&["."]), (0, vec![]));
}

/// A third package, with the manifest of the first one, at a place of its own.
const STAGED: &str = r#""next": { "image": { "file": "one.bin", "offset": "0x4000" }, "pm": "one.dts",
    "uuid": "5d3cf5d1-7ad5-4f0b-b5fd-2e3c6a7d9e10", "physical-load-address": "PLACE",
    "staged": true },
    "one":"#;

#[test]
fn a_staged_package_lies_where_nobody_is() {
    for (place, why) in [
        ("0x6800000", None),
        (
            "0x6300000",
            Some("expected a range that no other package has"),
        ),
        (
            "0x6400000",
            Some("expected a range that no other package has"),
        ),
        (
            "0x80000000",
            Some("expected a range inside a memory node of the SPMC manifest"),
        ),
    ] {
        let staged = STAGED.replace("PLACE", place);
        let case = Case::new("staged").change("sp_layout.json", "\"one\":", &staged);
        let (_, faults) = case.judge(&["."]);
        let found: Vec<_> = faults.iter().map(|fault| &fault.message).collect();
        match why {
            None => assert!(found.is_empty(), "{found:?}"),
            Some(why) => {
                let is_told = |message: &&&String| {
                    message.starts_with("staged `next`: ") && message.contains(why)
                };
                assert_eq!(
                    found.iter().filter(is_told).count(),
                    1,
                    "{place}: {found:?}"
                );
            }
        }
    }
    let unaligned = STAGED.replace("PLACE", "0x6800800");
    let case = Case::new("staged_odd").change("sp_layout.json", "\"one\":", &unaligned);
    let (_, faults) = case.judge(&["."]);
    let [fault] = &faults[..] else {
        panic!("{faults:?}");
    };
    assert_eq!(
        fault.message,
        "a staged package needs a 4 KiB aligned address"
    );
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
    let packed = |case: &Case, manifest: &str| case.pack(sp_layout::Form::V1, manifest, &[0; 64]);
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
