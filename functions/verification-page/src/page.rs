//! Rendering of the page from the files in `page/`.

use std::fmt::Write;

use accept_language::intersection;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lambda_http::http::StatusCode;
use lambda_http::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use lambda_http::{Body, Response};
use serde::Serialize;
use serde_json::{Value, json};
use shared::file::Media;
use shared::pocketbase::records::Branding;

use crate::theme::Theme;

const HTML: &str = include_str!("../page/page.html");
const STYLE: &str = include_str!("../page/page.css");
const SCRIPT: &str = include_str!("../page/page.js");

/// Languages with their messages. The first is the default.
const LANGUAGES: [(&str, &str); 4] = [
    ("en", include_str!("../page/messages/en.json")),
    ("es", include_str!("../page/messages/es.json")),
    ("fr", include_str!("../page/messages/fr.json")),
    ("de", include_str!("../page/messages/de.json")),
];

/// Reason why a link cannot be used, as the page's messages name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    Expired,
    Decided,
    NotFound,
    /// The partner's links must be signed, and this one is not, or wrongly.
    Unsigned,
    /// The partner's budget of new people is used up for today.
    UsedUp,
}

/// Properties of a page.
pub struct Page<'a> {
    /// `Accept-Language`.
    pub languages: &'a str,
    /// Origin that uploads are sent to.
    pub bucket_origin: Option<String>,
    /// Days after which media are deleted.
    pub retention_days: u16,
}

impl Page<'_> {
    /// The page for a check of a person.
    pub fn open(&self, token: &str, user_identifier: &str, branding: Option<&Branding>) -> Response<Body> {
        self.page(StatusCode::OK, json!({ "token": token, "userIdentifier": user_identifier }), branding)
    }

    /// The page for a link that cannot be used. It states the reason and what to do.
    pub fn problem(&self, status: StatusCode, problem: Problem, branding: Option<&Branding>) -> Response<Body> {
        self.page(status, json!({ "problem": problem }), branding)
    }

    /// Renders the page with its settings as JSON.
    fn page(&self, status: StatusCode, own: Value, branding: Option<&Branding>) -> Response<Body> {
        let (language, messages) = negotiate(self.languages);
        let messages: Value = serde_json::from_str(messages).unwrap_or_default();
        let theme = Theme::of(branding);
        let mut settings = json!({
            "token": null,
            "userIdentifier": null,
            "problem": null,
            "language": language,
            "partner": branding.map(|branding| json!({ "name": branding.name, "logo": theme.logo })),
            "limits": { "selfie_video": Media::Video.max_size(), "id_photo": Media::Image.max_size(), "id_photo_back": Media::Image.max_size() },
            "retentionDays": self.retention_days,
            "uploadPath": "/api/uploads",
            "submitPath": "/verif/submit",
            "messages": messages,
        });
        if let (Value::Object(settings), Value::Object(own)) = (&mut settings, own) {
            settings.extend(own);
        }
        // An unescaped `<` could end the script element.
        let settings_text = settings.to_string().replace('<', "\\u003c");
        let title = settings.pointer("/messages/page_title").and_then(Value::as_str).unwrap_or_default();
        let nonce = STANDARD.encode(rand::random::<[u8; 16]>());
        let html = render(
            HTML,
            &[
                ("lang", language),
                ("title", &escape(title)),
                ("nonce", &nonce),
                ("style", STYLE),
                ("theme", &theme.css),
                ("script", SCRIPT),
                ("settings", &settings_text),
            ],
        );
        let mut response = Response::new(Body::from(html));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        let camera = HeaderValue::from_static("camera=(self), microphone=(), geolocation=(), payment=()");
        headers.insert(HeaderName::from_static("permissions-policy"), camera);
        if let Ok(policy) = HeaderValue::from_str(&self.policy(&nonce)) {
            headers.insert(CONTENT_SECURITY_POLICY, policy);
        }
        response
    }

    /// Content Security Policy: allows only the page's own scripts and styles, and connections to the API and the bucket.
    fn policy(&self, nonce: &str) -> String {
        let bucket = self.bucket_origin.as_deref().unwrap_or_default();
        format!(
            "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data: blob:; media-src blob:; \
             connect-src 'self' {bucket}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
        )
    }
}

/// The best supported language for an `Accept-Language` header, with its messages.
fn negotiate(accepted: &str) -> (&'static str, &'static str) {
    let ours = LANGUAGES.map(|(language, _)| language);
    // The header is limited to 512 bytes.
    let accepted = accepted.get(..accepted.len().min(512)).unwrap_or_default();
    // Regions are ignored: `de-AT` is German.
    let plain: Vec<_> = accepted
        .split(',')
        .map(|part| {
            let (tag, weight) = part.split_once(';').unwrap_or((part, "q=1"));
            format!("{};{weight}", tag.trim().split('-').next().unwrap_or_default().to_ascii_lowercase())
        })
        .collect();
    let best = intersection(&plain.join(","), &ours).into_iter().next();
    let found = LANGUAGES.into_iter().find(|(language, _)| best.as_deref() == Some(language));
    found.unwrap_or(LANGUAGES[0])
}

/// Replaces the `{{names}}` of a template in one pass, so that names in values are not replaced.
fn render(template: &str, values: &[(&str, &str)]) -> String {
    let mut rendered = String::with_capacity(template.len() * 8);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        rendered.push_str(before);
        let (name, after) = after.split_once("}}").unwrap_or((after, ""));
        rendered.push_str(values.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value));
        rest = after;
    }
    rendered.push_str(rest);
    rendered
}

/// Escapes text for HTML.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '"' | '\'' => {
                // Writing to a string cannot fail.
                let _ = write!(escaped, "&#{};", u32::from(c));
            }
            _ => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_language_follows_accept_language() {
        for (accepted, language) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT,en;q=0.5", "de"),
            ("pt,fr-CA;q=0.8,en;q=0.7", "fr"),
            ("es-419,es;q=0.9", "es"),
            ("en;q=0.1,de;q=0.9", "de"),
            ("xx", "en"),
            ("*", "en"),
            (";;;,,q=", "en"),
            ("DE", "de"),
        ] {
            assert_eq!(negotiate(accepted).0, language, "{accepted}");
        }
    }

    #[test]
    fn names_in_values_are_not_replaced() {
        assert_eq!(render("a {{x}} b {{y}}{{z}}", &[("x", "{{y}}"), ("y", "2")]), "a {{y}} b 2");
        assert_eq!(render("{{x", &[("x", "1")]), "1");
    }

    #[test]
    fn every_name_in_the_template_is_known() {
        let known = ["lang", "title", "nonce", "style", "theme", "script", "settings"];
        let names: Vec<_> = HTML.split("{{").skip(1).map(|rest| rest.split_once("}}").unwrap().0).collect();
        assert!(names.iter().all(|name| known.contains(name)), "{names:?}");
        assert!(known.iter().all(|name| names.contains(name)), "{names:?}");
    }

    #[test]
    fn html_in_text_is_escaped() {
        assert_eq!(escape("<b>&\"'"), "&#60;b&#62;&#38;&#34;&#39;");
    }
}
