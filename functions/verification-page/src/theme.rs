//! A partner's colours and logo, validated for safety and contrast.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use shared::pocketbase::records::Branding;

/// The largest logo, in bytes.
const MAX_LOGO: usize = 100_000;

/// Least contrast of text: level AAA (WCAG 2.2, 1.4.6), so that muted text still reaches level AA (1.4.3).
const TEXT_CONTRAST: f64 = 7.0;

/// Least contrast between a button and its text (WCAG 2.2, 1.4.3).
const BUTTON_TEXT_CONTRAST: f64 = 4.5;

/// Least contrast between a button and the background (WCAG 2.2, 1.4.11).
const BUTTON_CONTRAST: f64 = 3.0;

/// Default colours, as in page.css.
const ACCENT: Colour = Colour(0x2f, 0x4f, 0xd8);
const WHITE: Colour = Colour(0xff, 0xff, 0xff);
const TEXT: Colour = Colour(0x10, 0x18, 0x2b);

/// A colour as `#rrggbb`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Colour(u8, u8, u8);

impl Colour {
    fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6 && hex.is_ascii())?;
        let part = |range| u8::from_str_radix(hex.get(range)?, 16).ok();
        // `from_str_radix` would accept a sign.
        if !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        Some(Self(part(0..2)?, part(2..4)?, part(4..6)?))
    }

    fn css(self) -> String {
        format!("#{:02x}{:02x}{:02x}", self.0, self.1, self.2)
    }

    /// Relative luminance, as WCAG defines it.
    fn luminance(self) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(self.0) + 0.7152 * linear(self.1) + 0.0722 * linear(self.2)
    }

    fn contrast(self, other: Self) -> f64 {
        let (one, two) = (self.luminance(), other.luminance());
        (one.max(two) + 0.05) / (one.min(two) + 0.05)
    }

    /// Text colour on this colour: black or white, whichever has more contrast.
    fn readable(self) -> Self {
        if self.contrast(WHITE) >= self.contrast(Self(0, 0, 0)) { WHITE } else { Self(0, 0, 0) }
    }
}

/// A validated theme.
#[derive(Debug, PartialEq, Eq)]
pub struct Theme {
    /// CSS custom properties, made only of parsed colours.
    pub css: String,
    /// The logo as a `data:` URL.
    pub logo: Option<String>,
}

impl Theme {
    /// Theme of a partner. Values that are malformed or lack contrast are replaced by defaults.
    pub fn of(branding: Option<&Branding>) -> Self {
        let text = |name: &str| branding.and_then(|branding| branding.theme.get(name)).and_then(Value::as_str);
        let colour = |name: &str| text(name).and_then(Colour::parse);
        let (background, words) = match (colour("background").unwrap_or(WHITE), colour("text")) {
            (background, Some(words)) if words.contrast(background) >= TEXT_CONTRAST => (background, words),
            (background, None) if TEXT.contrast(background) >= TEXT_CONTRAST => (background, TEXT),
            (background, _) if background.readable().contrast(background) >= TEXT_CONTRAST => {
                (background, background.readable())
            }
            _ => (WHITE, TEXT),
        };
        let fits = |accent: &Colour| {
            accent.contrast(background) >= BUTTON_CONTRAST
                && accent.readable().contrast(*accent) >= BUTTON_TEXT_CONTRAST
        };
        let accent = colour("primary").filter(fits).or(Some(ACCENT).filter(fits)).unwrap_or(words);
        let css = format!(
            ":root{{--accent:{};--on-accent:{};--background:{};--text:{}}}",
            accent.css(),
            accent.readable().css(),
            background.css(),
            words.css()
        );
        Self { css, logo: text("logo").and_then(logo) }
    }
}

/// Validates a logo: a `data:` URL whose bytes are a PNG, JPEG or WebP image of at most 100 kB.
fn logo(url: &str) -> Option<String> {
    let (_, base64) = url.strip_prefix("data:image/")?.split_once(";base64,")?;
    if base64.len() > MAX_LOGO / 3 * 4 + 4 {
        return None;
    }
    let bytes = STANDARD.decode(base64).ok().filter(|bytes| bytes.len() <= MAX_LOGO)?;
    let kind = infer::get(&bytes).map(|kind| kind.mime_type());
    match kind {
        Some(kind @ ("image/png" | "image/jpeg" | "image/webp")) => Some(format!("data:{kind};base64,{base64}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn theme(theme: Value) -> Theme {
        Theme::of(Some(&Branding { name: "Acme".to_owned(), theme }))
    }

    fn css(accent: &str, on_accent: &str, background: &str, text: &str) -> String {
        format!(":root{{--accent:{accent};--on-accent:{on_accent};--background:{background};--text:{text}}}")
    }

    #[test]
    fn readable_colours_are_used() {
        let light = theme(json!({ "primary": "#00695C", "background": "#fafafa", "text": "#222222" }));
        assert_eq!(light.css, css("#00695c", "#ffffff", "#fafafa", "#222222"));
        let dark = theme(json!({ "primary": "#ffd54f", "background": "#101418", "text": "#ffffff" }));
        assert_eq!(dark.css, css("#ffd54f", "#000000", "#101418", "#ffffff"));
        assert_eq!(Theme::of(None).css, css("#2f4fd8", "#ffffff", "#ffffff", "#10182b"));
    }

    #[test]
    fn unreadable_colours_are_replaced() {
        // Grey on grey, and an invisible button.
        let grey = theme(json!({ "primary": "#f0f0f0", "background": "#ffffff", "text": "#aaaaaa" }));
        assert_eq!(grey.css, css("#2f4fd8", "#ffffff", "#ffffff", "#000000"));
        let middle = theme(json!({ "background": "#808080" }));
        assert_eq!(middle.css, css("#2f4fd8", "#ffffff", "#ffffff", "#10182b"));
        for background in ["#000000", "#1a237e", "#ffeb3b", "#ffffff"] {
            let css = theme(json!({ "background": background, "primary": background })).css;
            let colours: Vec<_> =
                css.split('#').skip(1).map(|hex| Colour::parse(&format!("#{}", &hex[..6])).unwrap()).collect();
            let [accent, on_accent, background, text] = colours[..] else { unreachable!() };
            assert!(text.contrast(background) >= 7.0 && accent.contrast(background) >= 3.0, "{css}");
            assert!(on_accent.contrast(accent) >= 4.5, "{css}");
        }
    }

    #[test]
    fn a_hostile_theme_is_harmless() {
        for hostile in [
            "red;}</style><script>alert(1)</script>",
            "url(https://evil.example)",
            "#12345g",
            "#+12345",
            "#1234567",
            "expression(alert(1))",
            "#é1234",
            "",
        ] {
            let themed = theme(json!({ "primary": hostile, "background": hostile, "text": hostile, "logo": hostile }));
            assert_eq!(themed, Theme::of(None), "{hostile}");
        }
        let of = |bytes: &[u8], kind: &str| format!("data:image/{kind};base64,{}", STANDARD.encode(bytes));
        let png = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR";
        assert_eq!(theme(json!({ "logo": of(png, "anything\" onerror=x") })).logo, Some(of(png, "png")));
        assert_eq!(theme(json!({ "logo": of(b"<svg onload='alert(1)'/>", "svg+xml") })).logo, None);
        assert_eq!(theme(json!({ "logo": of(b"<svg onload='alert(1)'/>", "png") })).logo, None);
        assert_eq!(theme(json!({ "logo": of(&[&png[..], &[0; 100_000]].concat(), "png") })).logo, None);
        assert_eq!(theme(json!({ "logo": "https://evil.example/logo.png" })).logo, None);
        assert_eq!(theme(json!("text")), Theme::of(None));
        assert_eq!(theme(Value::Null), Theme::of(None));
    }
}
