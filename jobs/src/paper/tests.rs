//! What stands on the papers, read back from the set pages: golden texts, hostile texts, long invoices, currencies.
//!
//! With `METERHOUSE_BLESS=1` the texts in `testdata/papers` are written anew, to be read before they are committed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use jiff::civil::date;
use rating::exact::Exact;
use typst::layout::{Frame, FrameItem, Point};

use super::page::{self, Page};
use super::samples::{of_many_lines, samples};
use super::*;

static PRESS: LazyLock<Press> = LazyLock::new(Press::default);

fn page_of(paper: &PaperInvoice) -> Page {
    page::page(paper, &paper.invoice.digest().unwrap())
}

/// The text of each page: what stands at one height, from left to right, is a line.
fn pages(paper: &PaperInvoice) -> Vec<String> {
    let set = PRESS.set(paper, &page_of(paper)).unwrap();
    set.document.pages().iter().map(|page| text_of(&page.frame)).collect()
}

fn text_of(frame: &Frame) -> String {
    let mut items = Vec::new();
    collect(frame, Point::zero(), &mut items);
    items.sort_by_key(|(y, x, _)| (*y, *x));
    let mut text = String::new();
    let mut before = None;
    for (y, _, item) in items {
        text.push_str(match before {
            Some(before) if y - before < 3 => "  ",
            Some(_) => "\n",
            None => "",
        });
        text.push_str(&item.replace('\u{200b}', ""));
        before = Some(y);
    }
    text
}

/// Each run of text with its place in points; no glyph of it may be the empty box of a font that lacks it.
fn collect(frame: &Frame, origin: Point, items: &mut Vec<(i64, i64, String)>) {
    for (place, item) in frame.items() {
        let place = origin + *place;
        match item {
            FrameItem::Group(group) => collect(&group.frame, place, items),
            FrameItem::Text(text) => {
                assert!(text.glyphs.iter().all(|glyph| glyph.id != 0), "{:?} has an empty box", text.text);
                items.push((
                    place.y.to_pt().round() as i64,
                    place.x.to_pt().round() as i64,
                    text.text.to_string(),
                ));
            }
            _ => {}
        }
    }
}

fn sample(name: &str) -> PaperInvoice {
    samples().unwrap().into_iter().find(|(sample, _)| sample == name).unwrap().1
}

fn file(paper: &PaperInvoice, format: PaperFormat) -> String {
    let mut papers = render(&PRESS, paper, &[format]).unwrap();
    String::from_utf8(papers.files.remove(0).1).unwrap()
}

fn golden(file: &str, found: &str) {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/papers").join(file);
    if std::env::var_os("METERHOUSE_BLESS").is_some() {
        std::fs::write(&path, found).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(found == expected, "{file}: found\n{found}\nexpected\n{expected}");
}

/// A printed figure as a number again.
fn parsed(printed: &str) -> Exact {
    printed.replace(',', "").replace('−', "-").parse().unwrap_or_else(|_| panic!("{printed:?} is no amount"))
}

#[test]
fn the_samples_read_as_they_should() {
    for (name, paper) in samples().unwrap() {
        let text = format!("{}\n", pages(&paper).join("\n--- next page ---\n"));
        // Another comment in a catalog or another field of an invoice changes the hashes, and nothing that is golden.
        let digest = paper.invoice.digest().unwrap();
        let text = text.replace(&digest[..12], "(digest)");
        let text = text.replace(&paper.invoice.provenance.catalog_hash[..12], "(catalog)");
        golden(&format!("{name}.txt"), &text);
        golden(&format!("{name}.csv"), &file(&paper, PaperFormat::Csv));
    }
}

#[test]
fn html_says_what_the_pdf_says() {
    for (name, paper) in samples().unwrap() {
        let html = file(&paper, PaperFormat::Html);
        let escaped = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('\'', "&#39;");
        let mut texts = Vec::new();
        texts_in(&serde_json::to_value(page_of(&paper)).unwrap(), &mut texts);
        assert!(texts.len() > 30);
        for text in texts.iter().filter(|text| *text != "logo.svg") {
            assert!(html.contains(&escaped(text)), "{name}: {text:?} is missing");
        }
        assert_eq!(html.matches("<script").count() + html.matches("http://").count(), 0);
        assert_eq!(html.contains("class=\"draft\""), name == "draft");
    }
}

fn texts_in(value: &serde_json::Value, texts: &mut Vec<String>) {
    match value {
        serde_json::Value::String(text) => texts.push(text.clone()),
        serde_json::Value::Array(values) => values.iter().for_each(|value| texts_in(value, texts)),
        serde_json::Value::Object(fields) => fields.values().for_each(|value| texts_in(value, texts)),
        _ => {}
    }
}

#[test]
fn json_is_the_canonical_text_whose_digest_is_printed() {
    let paper = sample("documents");
    let json = file(&paper, PaperFormat::Json);
    assert_eq!(json, paper.invoice.canonical_json().unwrap());
    let digest = blake3::hash(json.as_bytes()).to_hex().to_string();
    assert!(pages(&paper)[0].contains(&format!("invoice digest {}", &digest[..12])));
}

#[test]
fn the_same_paper_gives_the_same_bytes() {
    let pdf = |press: &Press, paper| render(press, paper, &[PaperFormat::Pdf]).unwrap().files.remove(0).1;
    let (paper, other) = (sample("redline"), sample("draft"));
    let first = pdf(&PRESS, &paper);
    let between = pdf(&PRESS, &other);
    typst::comemo::evict(0);
    assert_eq!(first, pdf(&Press::default(), &paper));
    assert_eq!(between, pdf(&Press::default(), &other));
    assert!(first.starts_with(b"%PDF-"));
    let readable = String::from_utf8_lossy(&first);
    assert!(readable.contains("D:20260403000000"), "the date is that of the paper");
}

#[test]
fn what_is_printed_adds_up() {
    let mut papers: Vec<PaperInvoice> = samples().unwrap().into_iter().map(|(_, paper)| paper).collect();
    for code in ["EUR", "JPY", "KWD", "CLF"] {
        papers.push(of_many_lines(23, code).unwrap());
    }
    for paper in papers {
        let page = page_of(&paper);
        let digits = paper.invoice.currency.minor_digits() as usize;
        let printed = |figure: &str| {
            let decimals = figure.split_once('.').map_or(0, |(_, decimals)| decimals.len());
            assert_eq!(decimals, digits, "{figure} {}", page.currency);
            parsed(figure)
        };
        let lines = page.groups.iter().flat_map(|group| &group.lines);
        let sum: Exact = lines.map(|line| printed(&line.amount)).sum();
        assert_eq!(page.totals[0].label, "Subtotal");
        assert_eq!(sum, printed(&page.totals[0].amount), "{}", page.title);
        let intermediate = |row: &&page::TotalRow| row.label != "After credits";
        let due: Exact = page.totals.iter().filter(intermediate).map(|row| printed(&row.amount)).sum();
        assert_eq!(due, printed(&page.due.value), "{}", page.title);
        let text = pages(&paper).concat();
        assert!(text.contains(&page.due.value) && text.contains(page.currency));
    }
}

#[test]
fn long_invoices_repeat_their_head_and_end_with_their_total() {
    let paper = of_many_lines(300, "EUR").unwrap();
    let pages = pages(&paper);
    assert!(pages.len() >= 8, "{} pages", pages.len());
    for (index, page) in pages.iter().enumerate() {
        let number = format!("{} / {}", index + 1, pages.len());
        assert!(page.contains(&number), "page {number}:\n{page}");
        assert_eq!(page.contains("Total due"), index + 1 == pages.len());
        let has_lines = page.contains("Workspace");
        assert!(!has_lines || page.contains("Description  Quantity  Unit price  Amount (EUR)"));
    }
    let text = pages.concat();
    for index in 0..300 {
        assert_eq!(text.matches(&format!("Workspace {index:04}")).count(), 1, "line {index}");
    }
}

/// Texts that mean something to typst, to browsers, to spreadsheets, to terminals.
const HOSTILE: [&str; 14] = [
    "#panic(\"gone\")",
    "#import \"/etc/passwd\": *",
    "$x^2$ *bold* _italic_ `raw` <label> @reference",
    "]] #sys.inputs [[ \\ // comment",
    "= heading - list + enumeration",
    "<script>alert(1)</script>",
    "\" onmouseover=\"alert(1)",
    "</style></title><img src=x onerror=alert(1)>",
    "&lt;b&gt; &amp; ' \"",
    "=cmd|' /C calc'!A0",
    "@SUM(1+1)*cmd",
    "a,b;c\"d",
    "--> ]]> <!--",
    "{{template}} ${shell} %s %n",
];

#[test]
fn no_text_is_taken_for_markup() {
    for hostile in HOSTILE {
        let mut paper = sample("onmemos");
        paper.number = Some(hostile.to_owned());
        paper.buyer.name = hostile.to_owned();
        paper.buyer.address = vec![hostile.to_owned()];
        paper.seller.party.name = hostile.to_owned();
        paper.seller.bank = vec![hostile.to_owned()];
        paper.payment_terms = Some(hostile.to_owned());
        paper.invoice.lines[0].description = hostile.to_owned();
        let printed: String = pages(&paper).concat().split_whitespace().collect();
        let wanted: String = hostile.split_whitespace().collect();
        assert!(printed.matches(&wanted).count() >= 6, "{hostile}: {printed}");
        let html = file(&paper, PaperFormat::Html);
        for forbidden in ["<script", "<img src=x", "\" onmouseover", "<b>", "<!--"] {
            assert!(!html.contains(forbidden), "{hostile} brought {forbidden}");
        }
        assert_eq!(html.matches("</style>").count(), 1);
        let csv = file(&paper, PaperFormat::Csv);
        assert_eq!(csv.matches("\r\n").count(), paper.invoice.lines.len() + 1);
        for cell in csv.split([',', '\n', '"']) {
            let is_figure = cell.starts_with('-') && cell[1..].parse::<Exact>().is_ok();
            assert!(
                !cell.starts_with(['=', '@', '+']) && (is_figure || !cell.starts_with('-'))
                    || cell.contains("1+1")
            );
        }
        let files = render(&PRESS, &paper, &[PaperFormat::Pdf]).unwrap().files;
        assert!(!files[0].0.contains(['/', '\\', '"', '<', ' ']), "{}", files[0].0);
    }
}

#[test]
fn what_the_fonts_lack_is_marked_and_told() {
    for (name, is_shown) in [
        ("Müller Łódź Çağrı Õ", true),
        ("Компания «Рога и копыта»", true),
        ("Εταιρεία Ωμέγα", true),
        ("شركة الأفق", true),
        ("北京数据有限公司", false),
        ("Rocket 🚀 Labs", false),
    ] {
        let mut paper = sample("redline");
        paper.buyer.name = name.to_owned();
        // No empty box anywhere: `pages` looks at every glyph.
        let text = pages(&paper).concat();
        let papers = render(&PRESS, &paper, &[PaperFormat::Pdf, PaperFormat::Html]).unwrap();
        assert_eq!(papers.warnings.is_empty(), is_shown, "{name}: {:?}", papers.warnings);
        assert_eq!(text.contains("stands for a character"), !is_shown, "{name}");
        assert!(String::from_utf8_lossy(&papers.files[1].1).contains(name));
    }
    let mut paper = sample("redline");
    paper.buyer.name = "北京".to_owned();
    let warning = &render(&PRESS, &paper, &[PaperFormat::Pdf]).unwrap().warnings[0];
    assert!(warning.contains("no font has 京北") && warning.contains("`issuer.fonts`"), "{warning}");
}

#[test]
fn long_names_stay_on_the_page() {
    let mut paper = sample("onmemos");
    paper.buyer.name =
        "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft".repeat(3);
    paper.invoice.lines[0].description = "x".repeat(400);
    let set = PRESS.set(&paper, &page_of(&paper)).unwrap();
    for page in set.document.pages() {
        let mut items = Vec::new();
        collect(&page.frame, Point::zero(), &mut items);
        let width = page.frame.width().to_pt() as i64;
        assert!(items.iter().all(|(_, x, text)| text == "DRAFT" || (50..width - 50).contains(x)));
    }
    assert!(set.document.pages().len() <= 2);
}

#[test]
fn drafts_say_so_and_issued_papers_do_not() {
    let draft = sample("draft");
    for page in pages(&draft) {
        assert!(page.contains("DRAFT"));
    }
    assert!(pages(&draft).concat().contains("no price for 8123456 of websocket_bytes"));
    let mut issued = draft;
    (issued.number, issued.issue_date) = (Some("R-1".to_owned()), Some(date(2026, 3, 2)));
    let text = pages(&issued).concat().to_uppercase();
    assert!(!text.contains("DRAFT") && !text.contains("WEBSOCKET"), "{text}");
}

#[test]
fn what_is_incomplete_is_not_printed() {
    type Case = (&'static str, fn(&mut PaperInvoice));
    let cases: [Case; 6] = [
        ("needs its date of issue", |paper| paper.issue_date = None),
        ("name the seller as `issuer.name`", |paper| paper.seller.party.name = " ".to_owned()),
        ("does not say what it corrects", |paper| drop(paper.corrections.pop())),
        ("does not add up", |paper| paper.corrections[0].old = paper.corrections[0].new),
        ("names line 7, which is not there", |paper| paper.corrections[0].line = 7),
        ("amount due does not add up", |paper| paper.invoice.due = paper.invoice.total + paper.invoice.total),
    ];
    assert!(sample("credit-note").check().is_ok());
    for (expected, spoil) in cases {
        let mut paper = sample("credit-note");
        spoil(&mut paper);
        let error = render(&PRESS, &paper, &PaperFormat::ALL).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("instance-orchard") && error.contains("2026-01-15"), "{error}");
    }
}

#[test]
fn a_broken_logo_is_an_error_and_not_a_crash() {
    let mut paper = sample("redline");
    paper.seller.logo = Logo::of_bytes(b"\x89PNG\r\n\x1a\nbroken".to_vec());
    let error = render(&PRESS, &paper, &[PaperFormat::Pdf]).unwrap_err().to_string();
    assert!(error.contains("cannot be set") && error.contains("image"), "{error}");
}

#[test]
fn files_appear_whole_in_their_folder() {
    let folder = tempfile::tempdir().unwrap();
    let paper = sample("documents");
    for _ in 0..2 {
        let written = write_papers(&PRESS, folder.path(), &paper, &PaperFormat::ALL).unwrap();
        let names: Vec<_> =
            written.files.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        let expected =
            ["pdf", "html", "csv", "json"].map(|ending| format!("invoice_NL-2026-000417.{ending}"));
        assert_eq!(names, expected);
    }
    let entries: BTreeSet<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(entries.len(), 4);
    let error =
        write_papers(&PRESS, &folder.path().join("missing"), &paper, &[PaperFormat::Csv]).unwrap_err();
    assert!(error.to_string().starts_with("cannot write"), "{error}");
}
