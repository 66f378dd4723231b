//! Decision rules: the table that turns findings into a decision. docs/decision-rules.md publishes the same table.

use documents::{Checks, Matches, Outcome};
use serde::Serialize;
use shared::env::{ConfigError, Env};
use shared::types::VerificationStatus;

/// Thresholds of the rules, as similarities from 0 to 100.
#[derive(Debug, Clone, Copy)]
pub struct Thresholds {
    /// `FACE_MATCH_THRESHOLD`: similarity from which the faces match; 80 by default.
    pub verify_from: f64,
    /// `FACE_MATCH_HIGH_THRESHOLD`: similarity from which they match with high confidence; 90 by default.
    pub high_from: f64,
    /// `FACE_MISMATCH_THRESHOLD`: similarity below which they differ; 40 by default.
    pub reject_below: f64,
    /// `COMPARE_FACES_THRESHOLD`: similarity below which Rekognition contradicts a match; 90 by default.
    pub compare_faces_from: f64,
}

impl Thresholds {
    /// Reads the settings.
    ///
    /// # Errors
    /// When one is malformed, or `FACE_MISMATCH_THRESHOLD` is above `FACE_MATCH_THRESHOLD`.
    pub fn from_env(env: &Env) -> Result<Self, ConfigError> {
        let thresholds = Self {
            verify_from: env.number("FACE_MATCH_THRESHOLD", 80.0, 0.0..=100.0)?,
            high_from: env.number("FACE_MATCH_HIGH_THRESHOLD", 90.0, 0.0..=100.0)?,
            reject_below: env.number("FACE_MISMATCH_THRESHOLD", 40.0, 0.0..=100.0)?,
            compare_faces_from: env.number("COMPARE_FACES_THRESHOLD", 90.0, 0.0..=100.0)?,
        };
        if thresholds.reject_below > thresholds.verify_from {
            return Err(ConfigError::malformed("FACE_MISMATCH_THRESHOLD", "must be at most FACE_MATCH_THRESHOLD"));
        }
        Ok(thresholds)
    }
}

/// Visibility of a face.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Face {
    Clear,
    Unclear,
    None,
}

/// Findings of the comparison of faces.
#[derive(Debug, Clone, PartialEq)]
pub struct FaceFindings {
    /// Similarity of the faces, 0 to 100.
    pub similarity: f64,
    /// The model's verdict, if it gave one.
    pub same_person: Option<bool>,
    pub selfie_face: Face,
    pub id_face: Face,
    /// More than one person is in the video.
    pub several_people: bool,
    /// The photo of the document shows the face of a second person.
    pub several_id_faces: bool,
    /// The video shows a screen, a printed photo or a mask.
    pub selfie_is_replayed: bool,
    /// The photo shows an identity document.
    pub is_document: bool,
    /// The photo shows a copy or a screen instead of the document.
    pub document_is_copied: bool,
    /// The model reports text that is addressed to it.
    pub instructions: bool,
    /// The text that was read on the photo of the document; empty if none was reported.
    pub id_text: String,
    /// The text that was read in the video.
    pub selfie_text: String,
    /// Similarity by Amazon Rekognition, if it is the second comparison.
    pub second_similarity: Option<f64>,
}

/// Findings about the document.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentFindings {
    /// Name and number were read in print.
    pub is_read: bool,
    /// What was read on the back contradicts the front.
    pub sides_differ: bool,
    /// The dates of birth and of expiry were read.
    pub has_dates: bool,
    /// It is a passport, an identity card, a driving licence or a residence permit.
    pub is_identity_document: bool,
    /// The model found something that speaks against a genuine document.
    pub is_suspicious: bool,
    /// Computed checks.
    pub checks: Checks,
    /// Agreement with what the partner's backend declared.
    pub matches: Matches,
}

/// Finding about Face Liveness, where it is required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LivenessFinding {
    NotRequired,
    /// The profile has no live session of the last day.
    Missing,
    /// The face of the session is not the document's.
    OtherFace,
    Matches,
}

/// All findings of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Findings {
    pub faces: FaceFindings,
    pub document: DocumentFindings,
    /// Text in an image is addressed to the model.
    pub instructions: bool,
    /// The video or a photo was used for another person before.
    pub media_of_others: bool,
    /// The document was used for another person before.
    pub document_of_others: bool,
    /// The team has another person whose identifier looks like this one's.
    pub has_look_alike: bool,
    pub liveness: LivenessFinding,
}

/// Confidence level of a decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    High,
    Medium,
    Low,
}

/// What a risk factor leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Class {
    /// The check is rejected.
    Reject,
    /// A person must look.
    Review,
    /// The sender can mend it.
    Retry,
}

/// Decision of a check.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    pub status: VerificationStatus,
    pub level: Level,
    /// 0 to 100: the lowest of the similarities.
    pub score: f64,
    pub is_identical: bool,
    pub risk_factors: Vec<&'static str>,
    /// Whether the sender can mend all that is wrong, so that it is worth sending again.
    pub can_be_mended: bool,
    pub summary: &'static str,
}

/// One row of the table: a risk factor, its class, its condition and its summary.
pub struct Rule {
    pub risk_factor: &'static str,
    pub class: Class,
    pub summary: &'static str,
    applies: fn(&Findings, &Thresholds) -> bool,
}

/// The table. The first applicable row gives the summary.
pub const RULES: [Rule; 27] = [
    Rule {
        risk_factor: "faces_differ",
        class: Class::Reject,
        summary: "The faces are not those of one person",
        applies: |seen, at| both_clear(&seen.faces) && seen.faces.similarity < at.reject_below,
    },
    Rule {
        risk_factor: "suspected_instructions",
        class: Class::Review,
        summary: "An image holds text that is meant to influence the decision",
        applies: |seen, _| seen.instructions,
    },
    Rule {
        risk_factor: "text_not_examined",
        class: Class::Review,
        summary: "The text on the document was not reported",
        // Only a model can be told to be silent.
        applies: |seen, _| seen.faces.same_person.is_some() && !seen.faces.id_text.chars().any(char::is_alphanumeric),
    },
    Rule {
        risk_factor: "several_people",
        class: Class::Review,
        summary: "More than one person is in the video",
        applies: |seen, _| seen.faces.several_people,
    },
    Rule {
        risk_factor: "several_faces_on_document",
        class: Class::Review,
        summary: "The photo of the document shows more than one person",
        applies: |seen, _| seen.faces.several_id_faces,
    },
    Rule {
        risk_factor: "selfie_not_live",
        class: Class::Review,
        summary: "The video seems to show a screen, a photo or a mask",
        applies: |seen, _| seen.faces.selfie_is_replayed,
    },
    Rule {
        risk_factor: "liveness_face_differs",
        class: Class::Review,
        summary: "The face of the Face Liveness session is not that on the document",
        applies: |seen, _| seen.liveness == LivenessFinding::OtherFace,
    },
    Rule {
        risk_factor: "document_copied",
        class: Class::Review,
        summary: "The photo seems to show a copy of a document",
        applies: |seen, _| seen.faces.document_is_copied,
    },
    Rule {
        risk_factor: "document_suspicious",
        class: Class::Review,
        summary: "Something speaks against a genuine document",
        applies: |seen, _| seen.document.is_suspicious,
    },
    Rule {
        risk_factor: "mrz_invalid",
        class: Class::Review,
        summary: "The machine-readable zone is missing, malformed or has wrong check digits",
        applies: |seen, _| seen.document.checks.mrz_check_digits.result == Outcome::Fail,
    },
    Rule {
        risk_factor: "mrz_differs_from_print",
        class: Class::Review,
        summary: "The machine-readable zone and the print do not agree",
        applies: |seen, _| seen.document.checks.mrz_matches_document.result == Outcome::Fail,
    },
    Rule {
        risk_factor: "sides_differ",
        class: Class::Review,
        summary: "The two sides of the document do not agree",
        applies: |seen, _| seen.document.sides_differ,
    },
    Rule {
        risk_factor: "dates_not_read",
        class: Class::Review,
        summary: "The date of birth or of expiry was not read on the document",
        applies: |seen, _| seen.document.is_read && !seen.document.has_dates,
    },
    Rule {
        risk_factor: "dates_implausible",
        class: Class::Review,
        summary: "A date on the document is not possible",
        applies: |seen, _| seen.document.checks.dates_plausible.result == Outcome::Fail,
    },
    Rule {
        risk_factor: "differs_from_declared",
        class: Class::Review,
        summary: "The document is not that of the person whom the partner declared",
        applies: |seen, _| seen.document.is_read && seen.document.matches.is_contradicted(),
    },
    Rule {
        risk_factor: "document_of_another_person",
        class: Class::Review,
        summary: "The document was used for another person before",
        applies: |seen, _| seen.document_of_others,
    },
    Rule {
        risk_factor: "media_of_another_person",
        class: Class::Review,
        summary: "The video or a photo was used for another person before",
        applies: |seen, _| seen.media_of_others,
    },
    Rule {
        risk_factor: "look_alike_identifier",
        class: Class::Review,
        summary: "Another person has an identifier that looks the same",
        applies: |seen, _| seen.has_look_alike,
    },
    Rule {
        risk_factor: "second_comparison_disagrees",
        class: Class::Review,
        summary: "Two comparisons of the faces do not agree",
        applies: |seen, at| {
            both_clear(&seen.faces)
                && seen.faces.similarity >= at.verify_from
                && seen.faces.second_similarity.is_some_and(|second| second < at.compare_faces_from)
        },
    },
    Rule {
        risk_factor: "scores_contradict",
        class: Class::Review,
        summary: "The comparison of the faces contradicts itself",
        applies: |seen, at| match seen.faces.same_person {
            Some(true) => seen.faces.similarity < at.reject_below,
            Some(false) => seen.faces.similarity >= at.verify_from,
            None => false,
        },
    },
    Rule {
        risk_factor: "similarity_inconclusive",
        class: Class::Review,
        summary: "The faces are neither alike nor different enough",
        applies: |seen, at| {
            both_clear(&seen.faces) && (at.reject_below..at.verify_from).contains(&seen.faces.similarity)
        },
    },
    Rule {
        risk_factor: "not_an_identity_document",
        class: Class::Retry,
        summary: "The photo does not show an identity document",
        applies: |seen, _| !seen.faces.is_document || (seen.document.is_read && !seen.document.is_identity_document),
    },
    Rule {
        risk_factor: "document_not_read",
        class: Class::Retry,
        summary: "Name and number of the document cannot be read",
        applies: |seen, _| !seen.document.is_read,
    },
    Rule {
        risk_factor: "document_expired",
        class: Class::Retry,
        summary: "The document has expired",
        applies: |seen, _| seen.document.checks.not_expired.result == Outcome::Fail,
    },
    Rule {
        risk_factor: "selfie_face_not_clear",
        class: Class::Retry,
        summary: "The face in the video cannot be seen clearly",
        applies: |seen, _| seen.faces.selfie_face != Face::Clear,
    },
    Rule {
        risk_factor: "id_face_not_clear",
        class: Class::Retry,
        summary: "The face on the document cannot be seen clearly",
        applies: |seen, _| seen.faces.id_face != Face::Clear,
    },
    Rule {
        risk_factor: "liveness_missing",
        class: Class::Retry,
        summary: "The person has not passed Face Liveness",
        applies: |seen, _| seen.liveness == LivenessFinding::Missing,
    },
];

/// Whether both faces are clearly visible.
fn both_clear(faces: &FaceFindings) -> bool {
    faces.selfie_face == Face::Clear && faces.id_face == Face::Clear
}

/// Whether the face in the video is the one on an identity document that was read. Only then do the media and the document belong to the
/// person, whatever else speaks against the check.
pub fn shows_the_holder(seen: &Findings, at: &Thresholds) -> bool {
    both_clear(&seen.faces)
        && seen.faces.similarity >= at.verify_from
        && seen.faces.is_document
        && seen.document.is_read
        && seen.document.is_identity_document
}

/// Decides by the rules. The same findings always give the same decision.
pub fn decide(seen: &Findings, at: &Thresholds) -> Decision {
    let applying: Vec<_> = RULES.iter().filter(|rule| (rule.applies)(seen, at)).collect();
    let similarity = seen.faces.similarity;
    let score = seen.faces.second_similarity.map_or(similarity, |second| second.min(similarity));
    let (status, level) = match applying.first().map(|rule| rule.class) {
        None if score >= at.high_from => (VerificationStatus::Verified, Level::High),
        None => (VerificationStatus::Verified, Level::Medium),
        Some(Class::Reject) if similarity < at.reject_below / 2.0 => (VerificationStatus::Rejected, Level::High),
        Some(Class::Reject) => (VerificationStatus::Rejected, Level::Medium),
        Some(Class::Review | Class::Retry) => (VerificationStatus::Pending, Level::Low),
    };
    Decision {
        status,
        level,
        score,
        is_identical: both_clear(&seen.faces) && score >= at.verify_from,
        can_be_mended: !applying.is_empty() && applying.iter().all(|rule| rule.class == Class::Retry),
        risk_factors: applying.iter().map(|rule| rule.risk_factor).collect(),
        summary: applying.first().map_or("Faces, document and declared data agree", |rule| rule.summary),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use documents::{Agreement, Check};

    use super::*;

    const AT: Thresholds =
        Thresholds { verify_from: 80.0, high_from: 90.0, reject_below: 40.0, compare_faces_from: 90.0 };

    fn passed() -> Check {
        Check { result: Outcome::Pass, reason: String::new() }
    }

    fn failed() -> Check {
        Check { result: Outcome::Fail, reason: String::new() }
    }

    fn clear(similarity: f64) -> Findings {
        let agrees = Agreement::Agrees;
        Findings {
            faces: FaceFindings {
                similarity,
                same_person: None,
                selfie_face: Face::Clear,
                id_face: Face::Clear,
                several_people: false,
                several_id_faces: false,
                selfie_is_replayed: false,
                is_document: true,
                document_is_copied: false,
                instructions: false,
                id_text: "UTOPIA IDENTITY CARD".to_owned(),
                selfie_text: String::new(),
                second_similarity: None,
            },
            document: DocumentFindings {
                is_read: true,
                sides_differ: false,
                has_dates: true,
                is_identity_document: true,
                is_suspicious: false,
                checks: Checks {
                    mrz_check_digits: passed(),
                    mrz_matches_document: passed(),
                    not_expired: passed(),
                    dates_plausible: passed(),
                    hints_match: passed(),
                },
                matches: Matches {
                    name: agrees,
                    document_number: agrees,
                    date_of_birth: Agreement::NotDeclared,
                    country: agrees,
                },
            },
            instructions: false,
            media_of_others: false,
            document_of_others: false,
            has_look_alike: false,
            liveness: LivenessFinding::NotRequired,
        }
    }

    #[test]
    fn contradictory_thresholds_are_refused() {
        assert!(Thresholds::from_env(&Env::from([("FACE_MISMATCH_THRESHOLD", "81")])).is_err());
    }

    #[test]
    fn similarity_decides_when_no_other_factor_applies() {
        use VerificationStatus::{Pending, Rejected, Verified};
        for (similarity, status, level, factors) in [
            (100.0, Verified, Level::High, &[][..]),
            (90.0, Verified, Level::High, &[]),
            (89.9, Verified, Level::Medium, &[]),
            (80.0, Verified, Level::Medium, &[]),
            (79.9, Pending, Level::Low, &["similarity_inconclusive"]),
            (40.0, Pending, Level::Low, &["similarity_inconclusive"]),
            (39.9, Rejected, Level::Medium, &["faces_differ"]),
            (19.9, Rejected, Level::High, &["faces_differ"]),
        ] {
            let decision = decide(&clear(similarity), &AT);
            assert_eq!(
                (decision.status, decision.level, &*decision.risk_factors),
                (status, level, factors),
                "{similarity}"
            );
        }
    }

    type Doubt = (&'static str, fn(&mut Findings));

    /// A change for each rule but those of the similarity.
    const DOUBTS: [Doubt; 25] = [
        ("suspected_instructions", |seen| seen.instructions = true),
        ("text_not_examined", |seen| (seen.faces.same_person, seen.faces.id_text) = (Some(true), " ".to_owned())),
        ("several_people", |seen| seen.faces.several_people = true),
        ("several_faces_on_document", |seen| seen.faces.several_id_faces = true),
        ("selfie_not_live", |seen| seen.faces.selfie_is_replayed = true),
        ("liveness_face_differs", |seen| seen.liveness = LivenessFinding::OtherFace),
        ("document_copied", |seen| seen.faces.document_is_copied = true),
        ("document_suspicious", |seen| seen.document.is_suspicious = true),
        ("mrz_invalid", |seen| seen.document.checks.mrz_check_digits = failed()),
        ("mrz_differs_from_print", |seen| seen.document.checks.mrz_matches_document = failed()),
        ("sides_differ", |seen| seen.document.sides_differ = true),
        ("dates_not_read", |seen| seen.document.has_dates = false),
        ("dates_implausible", |seen| seen.document.checks.dates_plausible = failed()),
        ("differs_from_declared", |seen| seen.document.matches.name = Agreement::Differs),
        ("document_of_another_person", |seen| seen.document_of_others = true),
        ("media_of_another_person", |seen| seen.media_of_others = true),
        ("look_alike_identifier", |seen| seen.has_look_alike = true),
        ("second_comparison_disagrees", |seen| seen.faces.second_similarity = Some(89.0)),
        ("scores_contradict", |seen| seen.faces.same_person = Some(false)),
        ("not_an_identity_document", |seen| seen.document.is_identity_document = false),
        ("document_not_read", |seen| seen.document.is_read = false),
        ("document_expired", |seen| seen.document.checks.not_expired = failed()),
        ("selfie_face_not_clear", |seen| seen.faces.selfie_face = Face::Unclear),
        ("id_face_not_clear", |seen| seen.faces.id_face = Face::None),
        ("liveness_missing", |seen| seen.liveness = LivenessFinding::Missing),
    ];

    #[test]
    fn every_other_factor_alone_prevents_verified() {
        let by_similarity = ["faces_differ", "similarity_inconclusive"];
        assert_eq!(DOUBTS.len() + by_similarity.len(), RULES.len());
        for (factor, doubt) in DOUBTS {
            let mut seen = clear(99.0);
            doubt(&mut seen);
            let decision = decide(&seen, &AT);
            let rule = RULES.iter().find(|rule| rule.risk_factor == factor).unwrap();
            assert_eq!(decision.status, VerificationStatus::Pending, "{factor}");
            assert_eq!(decision.risk_factors, [factor]);
            assert_eq!(decision.can_be_mended, rule.class == Class::Retry, "{factor}");
        }
    }

    #[test]
    fn no_factor_improves_a_decision() {
        for similarity in [5.0, 30.0, 60.0, 85.0, 99.0] {
            let without = decide(&clear(similarity), &AT);
            for (factor, doubt) in DOUBTS {
                let mut seen = clear(similarity);
                doubt(&mut seen);
                let with = decide(&seen, &AT);
                assert_ne!(with.status, VerificationStatus::Verified, "{factor}");
                // An invisible face cannot be compared.
                let is_hidden = factor.ends_with("face_not_clear");
                let raised =
                    without.status == VerificationStatus::Rejected && with.status != VerificationStatus::Rejected;
                assert!(!raised || is_hidden, "{factor} {similarity}");
            }
        }
    }

    #[test]
    fn a_check_with_a_factor_for_review_cannot_be_mended() {
        let mut seen = clear(99.0);
        seen.document.is_read = false;
        assert!(decide(&seen, &AT).can_be_mended);
        seen.media_of_others = true;
        assert!(!decide(&seen, &AT).can_be_mended);
        assert!(!decide(&clear(99.0), &AT).can_be_mended);
    }

    #[test]
    fn an_invisible_face_does_not_reject() {
        let mut seen = clear(0.0);
        seen.faces.selfie_face = Face::None;
        assert_eq!(decide(&seen, &AT).status, VerificationStatus::Pending);
    }

    /// docs/decision-rules.md must have a row for each rule, in this order, and name the thresholds.
    #[test]
    fn the_published_table_is_the_same() {
        let page = include_str!("../../../docs/decision-rules.md");
        let mut rest = page;
        for rule in &RULES {
            let class = format!("{:?}", rule.class).to_lowercase();
            let row = format!("| `{}` | {class} | {} |", rule.risk_factor, rule.summary);
            let place = rest.find(&row);
            assert!(place.is_some(), "no row {row} after the one before it");
            rest = &rest[place.unwrap()..];
        }
        let (table, settings) = page.split_once("| setting |").unwrap();
        assert_eq!(table.matches("\n| `").count(), RULES.len());
        for setting in [
            "FACE_MATCH_THRESHOLD",
            "FACE_MATCH_HIGH_THRESHOLD",
            "FACE_MISMATCH_THRESHOLD",
            "COMPARE_FACES_THRESHOLD",
            "REQUIRE_FACE_LIVENESS",
        ] {
            assert!(settings.contains(setting), "{setting}");
        }
    }
}
