//! A picture of an SVG, with the fonts that the papers of invoices have.
//!
//! Owns pixels. No font of the machine is used: the same chart is the same picture everywhere.

use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result};
use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::fontdb::Database;
use resvg::usvg::{Options, Tree};

/// Sharp on screens of today, and in a document.
const SCALE: f32 = 2.0;
const TEXT_FONT: &str = "Libertinus Serif";

static FONTS: LazyLock<Arc<Database>> = LazyLock::new(|| {
    let mut fonts = Database::new();
    typst_assets::fonts().for_each(|font| fonts.load_font_data(font.to_vec()));
    fonts.set_sans_serif_family(TEXT_FONT);
    Arc::new(fonts)
});

pub(super) fn of_svg(svg: &str) -> Result<Vec<u8>> {
    let options = Options { fontdb: Arc::clone(&FONTS), ..Options::default() };
    let tree = Tree::from_str(svg, &options).context("the chart cannot be read")?;
    let size = tree.size().to_int_size().scale_by(SCALE).context("the chart is too large")?;
    let mut picture = Pixmap::new(size.width(), size.height()).context("the chart is too large")?;
    resvg::render(&tree, Transform::from_scale(SCALE, SCALE), &mut picture.as_mut());
    picture.encode_png().context("the chart cannot be written as PNG")
}

#[cfg(test)]
mod tests {
    use resvg::tiny_skia::Pixmap;

    use super::super::chart::tests::chart;
    use super::of_svg;

    #[test]
    fn a_picture_shows_bars_and_letters() {
        let drawn = |name: &str| {
            let svg = chart("bar", &[(name, "", 2_000), ("b", "", 1_000)]).svg();
            Pixmap::decode_png(&of_svg(&svg).unwrap()).unwrap()
        };
        let picture = drawn("Größe");
        assert_eq!(picture.width(), 1800);
        let blue = picture.pixels().iter().filter(|pixel| pixel.blue() > 200 && pixel.red() < 80).count();
        assert!(blue > 10_000, "{blue} pixels of bars");
        // Without a font the label would leave no trace.
        assert_ne!(picture.data(), drawn("").data());
    }
}
