//! Files made part by part, so that a test can say what is in them; the properties at the end.

use std::io::{Cursor, Write as _};

use calamine::{Data, Reader as _};
use proptest::prelude::*;
use zip::write::SimpleFileOptions;

use super::*;

const TYPES: &str = r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"><Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/></Types>"#;
const ROOT: &str = r#"<Relationships><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/></Relationships>"#;
const BOOK: &str = r#"<workbook xmlns:r="r"><workbookPr/><sheets><sheet name="表一" sheetId="1" r:id="rId1"/></sheets></workbook>"#;
const BOOK_RELATIONS: &str = r#"<Relationships><Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/><Relationship Id="rId2" Type="http://x/styles" Target="/xl/styles.xml"/><Relationship Id="rId3" Type="http://x/sharedStrings" Target="sharedStrings.xml"/></Relationships>"#;
const STYLES: &str = r#"<styleSheet><numFmts count="2"><numFmt numFmtId="164" formatCode="yyyy&quot;年&quot;m&quot;月&quot;d&quot;日&quot;"/><numFmt numFmtId="165" formatCode="yyyy-mm-dd hh:mm:ss"/></numFmts><cellStyleXfs><xf numFmtId="14"/></cellStyleXfs><cellXfs><xf numFmtId="0"/><xf numFmtId="14"/><xf numFmtId="164"/><xf numFmtId="165"/><xf numFmtId="20"/><xf numFmtId="49"/></cellXfs></styleSheet>"#;
const STRINGS: &str = r#"<sst count="1" uniqueCount="99999999999999"><si><t>名称</t></si><si><r><t xml:space="preserve">two </t></r><r><t>runs</t></r><rPh sb="0" eb="1"><t>ni</t></rPh></si><si/><si><t>a&amp;b&#x4e2d;_x005F_x0041_</t></si></sst>"#;

const PARTS: [(&str, &str); 6] = [
    ("[Content_Types].xml", TYPES),
    ("_rels/.rels", ROOT),
    ("xl/workbook.xml", BOOK),
    ("xl/_rels/workbook.xml.rels", BOOK_RELATIONS),
    ("xl/styles.xml", STYLES),
    ("xl/sharedStrings.xml", STRINGS),
];

fn zip_of(parts: &[(&str, Vec<u8>)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in parts {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(bytes).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

/// A workbook whose parts are `changed` or added.
fn book(changed: &[(&str, &str)]) -> Vec<u8> {
    let mut parts: Vec<(&str, Vec<u8>)> = PARTS.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
    for (name, text) in changed {
        parts.retain(|(other, _)| other != name);
        parts.push((name, text.as_bytes().to_vec()));
    }
    zip_of(&parts)
}

/// A workbook of one worksheet with these rows.
fn sheet_of(rows: &str) -> Vec<u8> {
    book(&[("xl/worksheets/sheet1.xml", &worksheet(rows))])
}

fn worksheet(rows: &str) -> String {
    format!(r#"<?xml version="1.0" encoding="UTF-8"?><worksheet><dimension ref="A1:XFD1048576"/><sheetData>{rows}</sheetData></worksheet>"#)
}

const HEADER: &str = r#"<row r="1"><c r="A1" t="s"><v>0</v></c></row>"#;

fn read(bytes: &[u8]) -> Result<Sheet, SheetError> {
    read_sheet(bytes, &SheetLimits::default())
}

/// Cells of the only row below the header, read from `cells`.
fn cells(cells: &str) -> Vec<Cell> {
    let mut sheet = read(&sheet_of(&format!(r#"{HEADER}<row r="2">{cells}</row>"#))).unwrap();
    sheet.rows.pop().map(|row| row.cells).unwrap_or_default()
}

fn text(text: &str) -> Cell {
    Cell::Text(text.to_owned())
}

fn date(text: &str) -> Cell {
    Cell::Date(text.parse().unwrap())
}

fn check_cell(cell: &str, expected: Cell) {
    assert_eq!(cells(cell), [expected], "{cell}");
}

#[track_caller]
fn check_refused(bytes: &[u8], code: &str, message: &str) {
    let error = read(bytes).unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(error.to_string().contains(message), "{error}");
    assert!(error.to_string().starts_with(|c: char| c.is_lowercase()), "{error}");
}

#[test]
fn cells_of_every_kind_are_read() {
    check_cell(r#"<c r="A2" t="s"><v>0</v></c>"#, text("名称"));
    check_cell(r#"<c r="A2" t="s"><v>1</v></c>"#, text("two runs"));
    check_cell(r#"<c r="A2" t="s"><v>3</v></c>"#, text("a&b中_x0041_"));
    check_cell(r#"<c t="inlineStr"><is><t> a&lt;b </t><rPh><t>x</t></rPh></is></c>"#, text(" a<b "));
    check_cell(r#"<c t="inlineStr"><is><t><![CDATA[1 < 2]]></t></is></c>"#, text("1 < 2"));
    check_cell(r#"<c t="inlineStr"><is><t>a_x000D__x000A_b_x0000_</t></is></c>"#, text("a\nb"));
    check_cell(r#"<c t="str"><v>x</v></c>"#, text("x"));
    check_cell(r"<c><v>-1.5e3</v></c>", Cell::Number(-1500.0));
    check_cell(r#"<c t="n"><v> 7 </v></c>"#, Cell::Number(7.0));
    check_cell(r#"<c t="b"><v>1</v></c>"#, Cell::Bool(true));
    check_cell(r#"<c t="b"><v>0</v></c>"#, Cell::Bool(false));
    check_cell(r##"<c t="e"><v>#N/A</v></c>"##, Cell::Fault("#N/A".to_owned()));
    for (fault, kind) in [("1e999", "n"), ("NaN", ""), ("inf", ""), ("abc", "n"), ("2", "b"), ("x", "d"), ("x", "what")] {
        check_cell(&format!(r#"<c t="{kind}"><v>{fault}</v></c>"#), Cell::Fault(fault.to_owned()));
    }
    check_cell(r#"<c t="d"><v>2026-11-29</v></c>"#, date("2026-11-29"));
    check_cell(r#"<c t="d"><v>2026-11-29T08:00:00</v></c>"#, Cell::DateTime("2026-11-29T08:00".parse().unwrap()));
    for empty in
        [r#"<c r="A2" s="1"/>"#, r#"<c t="s"><v></v></c>"#, r#"<c t="s"><v>2</v></c>"#, r#"<c t="inlineStr"><is/></c>"#, "<c><v/></c>"]
    {
        assert_eq!(cells(empty), [], "{empty}");
    }
}

#[test]
fn a_number_is_a_date_only_through_its_style() {
    check_cell(r#"<c s="1"><v>46355</v></c>"#, date("2026-11-29"));
    check_cell(r#"<c s="2"><v>46355.7</v></c>"#, date("2026-11-29"));
    check_cell(r#"<c s="3"><v>46355.75</v></c>"#, Cell::DateTime("2026-11-29T18:00".parse().unwrap()));
    check_cell(r#"<c s="4"><v>0.75</v></c>"#, Cell::Number(0.75));
    check_cell(r#"<c s="99"><v>46355</v></c>"#, Cell::Number(46355.0));
    check_cell(r"<c><v>46355</v></c>", Cell::Number(46355.0));
    check_cell(r#"<c s="1" t="str"><v>2026-11-29</v></c>"#, text("2026-11-29"));
    check_cell(r#"<c s="1"><v>60</v></c>"#, Cell::Fault("60".to_owned()));
    check_cell(r#"<c s="1"><v>-3</v></c>"#, Cell::Fault("-3".to_owned()));
}

#[test]
fn a_workbook_may_count_from_1904() {
    let rows = format!(r#"{HEADER}<row><c s="1"><v>44893</v></c></row>"#);
    let bytes = book(&[
        ("xl/workbook.xml", &BOOK.replace("<workbookPr/>", r#"<workbookPr date1904="1"/>"#)),
        ("xl/worksheets/sheet1.xml", &worksheet(&rows)),
    ]);
    assert_eq!(read(&bytes).unwrap().rows[0].cells, [date("2026-11-29")]);
}

#[test]
fn what_a_formula_claims_to_be_is_not_looked_at() {
    let formula = |text: &str| Cell::Formula(text.to_owned());
    check_cell("<c><f>SUM(A1:A3)</f><v>42</v></c>", formula("SUM(A1:A3)"));
    check_cell("<c t=\"str\"><f>\"a\"&amp;B1</f><v>合格</v></c>", formula("\"a\"&B1"));
    check_cell(r#"<c><f t="shared" si="4000000000"/><v>42</v></c>"#, formula(""));
    // The other cells of an array or a data table have a value and no formula of their own.
    for kind in ["array", "dataTable"] {
        let rows = format!(
            r#"{HEADER}<row r="2"><c r="A2"><f t="{kind}" ref="A2:B3">X</f><v>1</v></c><c r="B2"><v>2</v></c><c r="C2"><v>3</v></c></row>
               <row r="3"><c r="A3"><v>4</v></c></row><row r="4"><c r="A4"><v>5</v></c></row>"#
        );
        let sheet = read(&sheet_of(&rows)).unwrap();
        assert_eq!(sheet.rows[0].cells, [formula("X"), formula(""), Cell::Number(3.0)], "{kind}");
        assert_eq!(sheet.rows[1].cells, [formula("")], "{kind}");
        assert_eq!(sheet.rows[2].cells, [Cell::Number(5.0)], "{kind}");
    }
}

#[test]
fn rows_keep_their_numbers_and_blank_ones_are_left_out() {
    let rows = r#"<row r="2"><c t="str"><v>  </v></c></row><row r="3"><c r="B3" t="str"><v> 名称 </v></c><c r="C3"/></row>
        <row r="5"/><row r="7"><c r="C7"><v>1</v></c><c><v>2</v></c></row><row><c/><c><v>3</v></c></row><row r="20"><c t="str"><v> </v></c></row>"#;
    let sheet = read(&sheet_of(rows)).unwrap();
    assert_eq!((sheet.name.as_str(), sheet.header_row), ("表一", 3));
    assert_eq!(sheet.header, ["", "名称"]);
    let (empty, number) = (Cell::Empty, Cell::Number);
    assert_eq!(sheet.rows[0], Row { number: 7, cells: vec![empty.clone(), empty.clone(), number(1.0), number(2.0)] });
    assert_eq!(sheet.rows[1], Row { number: 8, cells: vec![empty.clone(), number(3.0)] });
    assert_eq!(sheet.rows.len(), 2);
    assert_eq!(sheet.rows[1].cell(99), &Cell::Empty);
}

#[test]
fn the_first_worksheet_that_is_shown_is_read() {
    let sheets = r#"<sheet name="隐藏" state="hidden" r:id="rId1"/><sheet name="图" r:id="rId2"/><sheet name="二" r:id="rId9"/><sheet name="三" r:id="rId1"/>"#;
    let workbook = format!(r#"<x:workbook xmlns:r="r"><x:sheets>{sheets}</x:sheets></x:workbook>"#);
    let relations = BOOK_RELATIONS.replace(
        "</Relationships>",
        r#"<Relationship Id="rId9" Type="http://purl.oclc.org/ooxml/worksheet" Target="../xl/./Two.xml"/></Relationships>"#,
    );
    let two = worksheet(HEADER).replace("<row", "<x:row").replace("</row", "</x:row");
    let parts = [("xl/workbook.xml", workbook.as_str()), ("xl/_rels/workbook.xml.rels", &relations), ("xl/two.xml", &two)];
    assert_eq!(read(&book(&parts)).unwrap().name, "二");
    check_refused(
        &book(&[("xl/workbook.xml", &BOOK.replace("<sheet ", "<sheet state=\"veryHidden\" "))]),
        "no_worksheet",
        "no visible worksheet",
    );
}

#[test]
fn a_header_names_each_column_once() {
    let header = |cells: &str| sheet_of(&format!("<row>{cells}</row>"));
    check_refused(&sheet_of(""), "empty", "worksheet is empty");
    check_refused(
        &header(r#"<c t="str"><v>a</v></c><c/><c t="str"><v> a</v></c>"#),
        "duplicate_header",
        "header \"a\" stands in A1 and C1",
    );
    check_refused(&header("<c><f>A2</f><v>1</v></c>"), "header", "header A1 is no text");
    let sheet = read(&header(r#"<c><v>2026</v></c><c s="1"><v>46355</v></c><c/><c t="str"><v>x</v></c><c t="str"><v> </v></c>"#)).unwrap();
    assert_eq!(sheet.header, ["2026", "2026-11-29", "", "x"]);
}

#[test]
fn other_files_are_told_apart_whatever_their_name() {
    let ole = |stream: &str| {
        let mut bytes = vec![0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, 0x1a, 0xe1];
        bytes.resize(1_025, 0);
        bytes.extend(stream.encode_utf16().flat_map(u16::to_le_bytes));
        bytes
    };
    check_refused(b"", "not_xlsx", "looks like empty");
    check_refused(&ole("Workbook"), "not_xlsx", "looks like xls");
    check_refused(&ole("EncryptedPackage"), "encrypted", "file is encrypted");
    check_refused("\u{feff}编号,名称\r\n1,a\r\n".as_bytes(), "not_xlsx", "looks like text");
    check_refused(b"\n<html><table>", "not_xlsx", "looks like html");
    check_refused(b"<?xml version=\"1.0\"?><Workbook/>", "not_xlsx", "looks like xml");
    check_refused(b"%PDF-1.7", "not_xlsx", "looks like pdf");
    check_refused(&[1, 2, 3], "not_xlsx", "looks like unknown");
    check_refused(b"PK\x03\x04 and no more", "damaged", "container");
    check_refused(&zip_of(&[("a.txt", b"a".to_vec())]), "not_xlsx", "looks like zip");
    check_refused(&book(&[("_rels/.rels", "<Relationships/>")]), "not_xlsx", "looks like zip");
    check_refused(&book(&[("mimetype", ""), ("content.xml", "")]), "not_xlsx", "looks like ods");
    let types = |from: &str, to: &str| book(&[("[Content_Types].xml", &TYPES.replace(from, to))]);
    check_refused(&types("spreadsheetml.sheet", "wordprocessingml.document"), "not_xlsx", "looks like docx");
    check_refused(&types("spreadsheetml.sheet", "presentationml.presentation"), "not_xlsx", "looks like pptx");
    check_refused(
        &types("openxmlformats-officedocument.spreadsheetml.sheet.main+xml", "ms-excel.sheet.binary.macroEnabled.main"),
        "macros",
        "content_types",
    );
    check_refused(
        &types("openxmlformats-officedocument.spreadsheetml.sheet.main+xml", "ms-excel.sheet.binary.main"),
        "not_xlsx",
        "looks like xlsb",
    );
    check_refused(&book(&[("xl/workbook.xml", "<document/>")]), "not_xlsx", "looks like xml");
}

#[test]
fn macros_and_references_to_others_are_refused() {
    let relation = |kind: &str, mode: &str| {
        let text = format!(
            r#"<Relationships><Relationship Id="a" Type="http://x/{kind}" Target="https://example.invalid/" {mode}/></Relationships>"#
        );
        book(&[("xl/worksheets/_rels/sheet1.xml.rels", &text), ("xl/worksheets/sheet1.xml", &worksheet(HEADER))])
    };
    check_refused(&book(&[("xl/vbaProject.bin", "x")]), "macros", "vbaproject.bin");
    check_refused(&book(&[("xl/macrosheets/sheet1.xml", "<x/>")]), "macros", "macrosheets");
    check_refused(
        &book(&[("[Content_Types].xml", &TYPES.replace("spreadsheetml.sheet", "spreadsheetml.sheet.macroEnabled"))]),
        "macros",
        "content_types",
    );
    check_refused(&relation("vbaProject", ""), "macros", "sheet1.xml.rels");
    check_refused(&book(&[("xl/externalLinks/externalLink1.xml", "<x/>")]), "external_link", "externallinks");
    check_refused(&relation("image", r#"TargetMode="External""#), "external_link", "sheet1.xml.rels");
    check_refused(&relation("attachedTemplate", r#"TargetMode=" external ""#), "external_link", "sheet1.xml.rels");
    read(&relation("hyperlink", r#"TargetMode="External""#)).unwrap();
}

#[test]
fn a_file_that_inflates_too_far_is_refused_before_it_is_understood() {
    let zeros = vec![b' '; 3 << 20];
    check_refused(&zip_of(&[("xl/media/a.bin", zeros.clone())]), "ratio_too_high", "part xl/media/a.bin is more than 150 times");
    let limits = SheetLimits { inflated_bytes_max: 1 << 20, ratio_max: u64::MAX, ..SheetLimits::default() };
    let bytes = zip_of(&[("a", zeros)]);
    assert_eq!(read_sheet(&bytes, &limits).unwrap_err().code(), "inflates_too_far");
    // The same with headers that say four bytes: what is counted is what comes out.
    let mut lying = bytes.clone();
    let size = (3_u32 << 20).to_le_bytes();
    let at: Vec<usize> = (0..lying.len() - 4).filter(|i| lying[*i..*i + 4] == size).collect();
    assert_eq!(at.len(), 2);
    at.iter().for_each(|i| lying[*i..*i + 4].copy_from_slice(&4_u32.to_le_bytes()));
    assert!(matches!(read_sheet(&lying, &limits).unwrap_err().code(), "inflates_too_far" | "damaged"));
    let limits = SheetLimits { entries_max: 3, ..SheetLimits::default() };
    assert_eq!(read_sheet(&book(&[]), &limits).unwrap_err(), SheetError::TooManyEntries { entries: 6, max: 3 });
    let limits = SheetLimits { file_bytes_max: 10, ..SheetLimits::default() };
    assert_eq!(read_sheet(&[0; 11], &limits).unwrap_err(), SheetError::FileTooLarge { bytes: 11, max: 10 });
    check_refused(&book(&[("XL/Workbook.xml", "<x/>")]), "damaged", "two parts have this name");
}

#[test]
fn xml_that_wants_too_much_is_refused() {
    let bomb = r#"<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>"#;
    check_refused(&book(&[("xl/worksheets/sheet1.xml", &format!("{bomb}{}", worksheet(HEADER)))]), "entities", "declares a document type");
    check_refused(&book(&[("_rels/.rels", &format!("{bomb}{ROOT}"))]), "entities", "_rels/.rels");
    check_refused(&sheet_of(r#"<row><c t="str"><v>&a;</v></c></row>"#), "damaged", "an entity is not known");
    check_refused(&sheet_of(&"<a>".repeat(200)), "damaged", "nested too deep");
    // Digits in disorder, so that it is not the ratio that stops it.
    let mut n = 1_u64;
    let noise: String = std::iter::repeat_with(|| {
        n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        format!("{:x}", n >> 32)
    })
    .take(300_000)
    .collect();
    check_refused(&sheet_of(&format!("<row a=\"{noise}\"/>")), "damaged", "a tag or text is too long");
    check_refused(&sheet_of(&format!("<row><c t=\"str\"><v>{noise}</v></c></row>")), "damaged", "a tag or text is too long");
    check_refused(&book(&[("xl/worksheets/sheet1.xml", "<worksheet><sheetData><row>")]), "damaged", "it ends too early");
    check_refused(&book(&[("xl/worksheets/sheet1.xml", "<worksheet/>")]), "damaged", "it has no cells");
    check_refused(&book(&[]), "damaged", "xl/worksheets/sheet1.xml: it is missing");
    check_refused(&sheet_of("<row></c></row>"), "damaged", "sheet1.xml");
}

#[test]
fn places_that_contradict_each_other_are_refused() {
    for (rows, message) in [
        (r#"<row r="2"/><row r="2"/>"#, "row 2 follows row 2"),
        (r#"<row r="0"/>"#, "row 0 follows row 0"),
        (r#"<row r="1048577"/>"#, "row 1048577 follows"),
        (r#"<row r="x"/>"#, "\"x\" is no row"),
        (r#"<row r="1"><c r="A2"/></row>"#, "A2 stands in row 1"),
        (r#"<row r="1"><c r="1A"/></row>"#, "\"1A\" is no cell"),
        (r#"<row r="1"><c r="AAAA1"/></row>"#, "is no cell"),
        (r#"<row r="1"><c r="B1"/><c r="A1"/></row>"#, "A1 comes too late"),
        (r#"<row r="1"><c r="B1"/><c r="B1"/></row>"#, "B1 comes too late"),
        (r#"<row r="1"><c t="s"><v>4</v></c></row>"#, "A1 has no text \"4\""),
        (r#"<c r="A1"/>"#, "outside of a row"),
    ] {
        check_refused(&sheet_of(rows), "damaged", message);
    }
}

#[test]
fn limits_of_the_sheet_name_the_place() {
    let limits = SheetLimits { rows_max: 2, columns_max: 3, cells_max: 7, cell_chars_max: 4, text_bytes_max: 60, ..SheetLimits::default() };
    let check = |rows: &str, expected: Result<(), SheetError>| {
        assert_eq!(read_sheet(&sheet_of(&format!("{HEADER}{rows}")), &limits).map(drop), expected, "{rows}");
    };
    let row = "<row><c><v>1</v></c></row>";
    check(&row.repeat(2), Ok(()));
    check(&row.repeat(3), Err(SheetError::TooManyRows { max: 2 }));
    check(&format!("{}<row r=\"9\"/>", row.repeat(2)), Ok(()));
    check(r#"<row r="2"><c r="C2"><v>1</v></c></row>"#, Ok(()));
    check(r#"<row r="2"><c r="D2"/></row>"#, Ok(()));
    check(r#"<row r="2"><c r="D2"><v>1</v></c></row>"#, Err(SheetError::TooManyColumns { cell: "D2".to_owned(), max: 3 }));
    check(r#"<row r="2"><c r="C2"><v>1</v></c></row><row r="3"><c r="C3"><v>1</v></c></row>"#, Ok(()));
    check(r#"<row r="2"><c t="str"><v>五个字符啊</v></c></row>"#, Err(SheetError::TextTooLong { cell: "A2".to_owned(), max: 4 }));
    check(r#"<row r="2"><c t="str"><v>四个字啊</v></c></row>"#, Ok(()));
    check(
        &format!(r#"<row r="2"><c t="str"><v>{}</v></c></row>"#, "x".repeat(60)),
        Err(SheetError::TextTooLong { cell: "A2".to_owned(), max: 4 }),
    );
    let limits = SheetLimits { cells_max: 6, ..limits };
    let rows = format!(r#"{HEADER}<row r="2"><c r="C2"><v>1</v></c></row><row r="3"><c r="C3"><v>1</v></c></row>"#);
    assert_eq!(read_sheet(&sheet_of(&rows), &limits).unwrap_err(), SheetError::TooManyCells { max: 6 });
    // One long text of the table, used again and again.
    let limits = SheetLimits { text_bytes_max: 100_000, ..SheetLimits::default() };
    let strings = format!("<sst><si><t>{}</t></si></sst>", "长".repeat(10_000));
    let rows = format!("<row>{}</row>", r#"<c t="s"><v>0</v></c>"#.repeat(4));
    let bytes = book(&[("xl/sharedStrings.xml", &strings), ("xl/worksheets/sheet1.xml", &worksheet(&rows))]);
    assert_eq!(read_sheet(&bytes, &limits).unwrap_err(), SheetError::TooMuchText { max: 100_000 });
}

#[test]
fn cells_are_named_as_excel_names_them() {
    for (column, name) in [(0, "A1"), (25, "Z1"), (26, "AA1"), (701, "ZZ1"), (702, "AAA1"), (16_383, "XFD1")] {
        assert_eq!(cell_name(column, 1), name);
    }
}

fn column(header: &str, kind: ColumnKind) -> Column {
    Column { header: header.to_owned(), width: 12.0, kind }
}

fn tab(name: &str, headers: &[&str], rows: Vec<Vec<Cell>>) -> Tab {
    Tab { name: name.to_owned(), columns: headers.iter().map(|header| column(header, ColumnKind::Text)).collect(), rows }
}

/// What is read of a workbook with this one row.
fn written(row: &[Cell]) -> Vec<Cell> {
    let headers: Vec<String> = (0..row.len()).map(|i| format!("列{i}")).collect();
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    let bytes = write_sheet(&NewSheet { tabs: vec![tab("台账", &headers, vec![row.to_vec()])] }).unwrap();
    let mut sheet = read(&bytes).unwrap();
    assert_eq!((sheet.name.as_str(), sheet.header_row), ("台账", 1));
    assert_eq!(sheet.header, headers);
    sheet.rows.pop().map(|row| row.cells).unwrap_or_default()
}

fn part_of(bytes: &[u8], name: &str) -> String {
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes)).unwrap();
    std::io::read_to_string(archive.by_name(name).unwrap()).unwrap()
}

#[test]
fn text_stays_text_whatever_it_begins_with() {
    let texts = [
        "=1+1",
        "+1",
        "-1",
        "@SUM(1)",
        "\t=1",
        "=HYPERLINK(\"https://example.invalid\")",
        "https://example.invalid",
        "007",
        "2026-11-29",
        "TRUE",
        "#N/A",
        "'x",
        " x ",
    ];
    let row: Vec<Cell> = texts.iter().map(|t| text(t)).collect();
    assert_eq!(written(&row), row);
    let bytes = write_sheet(&NewSheet { tabs: vec![tab("a", &["a"; 1], row.iter().map(|cell| vec![cell.clone()]).collect())] }).unwrap();
    let sheet = part_of(&bytes, "xl/worksheets/sheet1.xml");
    assert!(!sheet.contains("<f") && !sheet.contains("hyperlink"), "{sheet}");
    // The guard is a property of the format of some cells.
    assert!(part_of(&bytes, "xl/styles.xml").contains("quotePrefix=\"1\""));
}

#[test]
fn what_excel_has_no_value_for_becomes_text() {
    assert_eq!(written(&[text("a\0\u{1b}b\r\nc\rd")]), [text("ab\nc\nd")]);
    assert_eq!(written(&[Cell::Number(f64::NAN), Cell::Number(f64::INFINITY)]), [text("NaN"), text("inf")]);
    assert_eq!(written(&[date("1899-12-31"), date("0202-11-29")]), [text("1899-12-31"), text("0202-11-29")]);
    assert_eq!(written(&[Cell::Fault("#N/A".to_owned()), Cell::Formula("A1".to_owned())]), [text("#N/A"), text("=A1")]);
    assert_eq!(written(&[text(""), text("x"), Cell::Empty]), [Cell::Empty, text("x")]);
}

#[test]
fn a_workbook_that_cannot_be_is_refused() {
    let check = |tabs: Vec<Tab>, code: &str, message: &str| {
        let error = write_sheet(&NewSheet { tabs }).unwrap_err();
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(message), "{error}");
    };
    check(Vec::new(), "no_worksheet", "");
    check(vec![tab("a", &[], Vec::new())], "empty", "");
    check(vec![tab("a", &["x", " "], Vec::new())], "header", "header B1 has no name");
    check(vec![tab("a", &["x", " x "], Vec::new())], "duplicate_header", "A1 and B1");
    check(
        vec![tab("a", &["x"], vec![vec![], vec![Cell::Empty, Cell::Empty]])],
        "row_too_wide",
        "row 3 of worksheet \"a\" has 2 cells for 1 columns",
    );
    check(vec![tab("a", &["x"], vec![vec![text(&"😀".repeat(16_384))]])], "text_too_long", "cell A2");
    for name in ["", " ", "a/b", "a:b", "'a", "a'", "History", "a\nb", &"长".repeat(32)] {
        check(vec![tab(name, &["x"], Vec::new())], "tab_name", "cannot be called");
    }
    check(vec![tab("Ab", &["x"], Vec::new()), tab("aB", &["x"], Vec::new())], "tab_name", "another worksheet has it");
}

#[test]
fn the_same_cells_give_the_same_bytes_and_a_table_that_opens_as_one() {
    let sheet = NewSheet {
        tabs: vec![
            Tab {
                name: "隐患".to_owned(),
                columns: vec![
                    column("编号", ColumnKind::Text),
                    column("资金", ColumnKind::Number),
                    column("期限", ColumnKind::Date),
                    column("时间", ColumnKind::DateTime),
                ],
                rows: vec![vec![text("007"), Cell::Number(1.5), date("2026-11-29"), Cell::DateTime("2026-11-29T08:00".parse().unwrap())]],
            },
            tab("说明", &["字段"], Vec::new()),
        ],
    };
    let bytes = write_sheet(&sheet).unwrap();
    assert_eq!(bytes, write_sheet(&sheet).unwrap());
    let xml = part_of(&bytes, "xl/worksheets/sheet1.xml");
    assert!(xml.contains("<autoFilter ref=\"A1:D2\"/>") && xml.contains("state=\"frozen\"") && xml.contains("ySplit=\"1\""), "{xml}");
    assert!(part_of(&bytes, "xl/styles.xml").contains("<b/>"));
    // Another reader sees the same.
    let mut workbook: calamine::Xlsx<_> = calamine::Xlsx::new(Cursor::new(&bytes)).unwrap();
    assert_eq!(workbook.sheet_names(), ["隐患", "说明"]);
    let range = workbook.worksheet_range("隐患").unwrap();
    assert_eq!(range.get((0, 2)), Some(&Data::String("期限".to_owned())));
    assert_eq!(range.get((1, 0)), Some(&Data::String("007".to_owned())));
    assert_eq!(range.get((1, 1)), Some(&Data::Float(1.5)));
    assert!(matches!(range.get((1, 2)), Some(Data::DateTime(at)) if at.as_f64() == 46_355.0));
    assert!(matches!(range.get((1, 3)), Some(Data::DateTime(at)) if (at.as_f64() - 46_355.333_333).abs() < 1e-5));
}

#[test]
fn a_large_register_fits_into_the_limits() {
    // Rows that resemble each other as much as a register's can: nearer to a bomb than any real one.
    let row = vec![text("一般隐患"), Cell::Number(1.0), date("2026-11-29"), text("已整改"), Cell::Bool(true)];
    let headers = ["a", "b", "c", "d", "e"];
    let bytes = write_sheet(&NewSheet { tabs: vec![tab("台账", &headers, vec![row.clone(); 20_000])] }).unwrap();
    let sheet = read(&bytes).unwrap();
    assert_eq!(sheet.rows.len(), 20_000);
    assert_eq!((sheet.rows[19_999].number, &sheet.rows[19_999].cells), (20_001, &row));
}

fn any_cell() -> impl Strategy<Value = Cell> {
    let any_date = (1900_i16..=9999, 1_i8..=12, 1_i8..=28).prop_map(|(y, m, d)| Date::constant(y, m, d));
    prop_oneof![
        Just(Cell::Empty),
        "[ -~]{0,12}".prop_map(Cell::Text),
        "[=+@\t\r\n_x0-9A-Fa-f-]{0,20}".prop_map(Cell::Text),
        "\\PC{0,12}".prop_map(Cell::Text),
        any::<String>().prop_map(Cell::Text),
        any::<f64>().prop_filter("finite", |n| n.is_finite()).prop_map(Cell::Number),
        any::<i32>().prop_map(|n| Cell::Number(n.into())),
        any::<bool>().prop_map(Cell::Bool),
        any_date.clone().prop_map(Cell::Date),
        (any_date, 0_i8..24, 0_i8..60, 0_i8..60).prop_map(|(date, h, m, s)| Cell::DateTime(date.at(h, m, s, 0))),
    ]
}

/// A cell as it must come back.
fn expected(cell: &Cell) -> Cell {
    match cell {
        Cell::Text(t) => match text::clean(t) {
            clean if clean.is_empty() => Cell::Empty,
            clean => Cell::Text(clean.into_owned()),
        },
        other => other.clone(),
    }
}

fn read_any(bytes: &[u8]) {
    let limits = SheetLimits { rows_max: 100, columns_max: 20, cells_max: 500, inflated_bytes_max: 1 << 20, ..SheetLimits::default() };
    if let Err(error) = read_sheet(bytes, &limits) {
        assert!(!error.to_string().is_empty());
    }
}

const WHOLE: &str = r#"<row r="1"><c r="A1" t="s"><v>0</v></c><c r="B1" t="inlineStr"><is><r><t>b</t></r></is></c></row>
    <row r="2" spans="1:2"><c r="A2" s="1"><v>46355.5</v></c><c r="B2"><f t="array" ref="B2:C3">A&amp;1</f><v>1</v></c><c r="C2"><v>2</v></c></row>
    <row r="3"><c r="A3" s="3"><v>2</v></c><c t="b"><v>1</v></c><c t="e"><v>#N/A</v></c><c t="d"><v>2026-01-01</v></c></row>"#;

proptest! {
    #[test]
    fn what_is_written_is_read_back(rows in prop::collection::vec(prop::collection::vec(any_cell(), 0..6), 0..8), kind in 0_usize..4) {
        let kind = [ColumnKind::Text, ColumnKind::Number, ColumnKind::Date, ColumnKind::DateTime][kind];
        let columns = (0..6).map(|i| column(&format!("列{i}"), kind)).collect();
        let bytes = write_sheet(&NewSheet { tabs: vec![Tab { name: "台账".to_owned(), columns, rows: rows.clone() }] }).unwrap();
        let sheet = read(&bytes).unwrap();
        let mut wanted: Vec<Row> = Vec::new();
        for (cells, number) in rows.iter().zip(2..) {
            let mut cells: Vec<Cell> = cells.iter().map(expected).collect();
            while cells.last() == Some(&Cell::Empty) {
                cells.pop();
            }
            if !cells.iter().all(Cell::is_blank) {
                wanted.push(Row { number, cells });
            }
        }
        prop_assert_eq!(sheet.rows, wanted);
        // Another reader takes it too and sees the same texts.
        let mut workbook: calamine::Xlsx<_> = calamine::Xlsx::new(Cursor::new(&bytes)).unwrap();
        let range = workbook.worksheet_range("台账").unwrap();
        for (cells, row) in rows.iter().zip(1..) {
            for (cell, column) in cells.iter().zip(0..) {
                if let Cell::Number(number) = cell {
                    prop_assert_eq!(range.get_value((row, column)), Some(&Data::Float(*number)));
                }
                if let (Cell::Text(text), Some(Data::String(other))) = (expected(cell), range.get_value((row, column))) {
                    prop_assert_eq!(&text, other);
                }
            }
        }
    }

    #[test]
    fn bytes_of_any_kind_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        read_any(&bytes);
        read_any(&[b"PK\x03\x04", bytes.as_slice()].concat());
    }

    #[test]
    fn a_file_with_changed_bytes_does_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20)) {
        let mut bytes = sheet_of(WHOLE);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read_any(&bytes);
    }

    #[test]
    fn a_file_that_ends_too_early_does_no_harm(at in any::<prop::sample::Index>()) {
        let bytes = sheet_of(WHOLE);
        let n = at.index(bytes.len());
        prop_assert!(read(&bytes[..n]).is_err());
    }

    // Bytes changed in the archive are found by its checksums; these reach the XML.
    #[test]
    fn parts_with_changed_bytes_do_no_harm(
        part in 0_usize..7,
        changes in prop::collection::vec((any::<prop::sample::Index>(), "[<>/&;\"'=\\[\\]!?a-z0-9A-Z :.-]{0,6}", 0_usize..12), 1..6),
    ) {
        let sheet = worksheet(WHOLE);
        let mut parts: Vec<(&str, Vec<u8>)> = PARTS.iter().map(|(name, text)| (*name, text.as_bytes().to_vec())).collect();
        parts.push(("xl/worksheets/sheet1.xml", sheet.into_bytes()));
        let bytes = &mut parts[part].1;
        for (at, text, n_gone) in changes {
            let at = at.index(bytes.len() + 1);
            let end = (at + n_gone).min(bytes.len());
            bytes.splice(at..end, text.into_bytes());
        }
        read_any(&zip_of(&parts));
    }
}
