//! The command line, single files and their sources, and the output formats.

use crate::support::{Case, run};

#[test]
fn files_by_themselves_and_together() {
    let case = Case::new("files").change("one.dts", "<0x0 0x6600000>", "<0x0 0x6400000>");
    assert_eq!(case.judge(&["spmc.dts"]), (0, vec![]));
    // Only the SPMC manifest shows that the region belongs to another partition.
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
