//! Examination of a check's media: faces, document, Face Liveness and evidence.

use bytes::Bytes;
use chrono::Utc;
use documents::Reading;
use futures_util::future::{try_join_all, try_join4};
use shared::http::Form;
use shared::pocketbase::records::{AttemptUse, Evidence, EvidenceKind};
use shared::types::Origin;
use storage::check_key;

use crate::document;
use crate::failure::{Failure, of_examination, of_media};
use crate::media::{Photo, Photos, Video};
use crate::rules::{FaceFindings, LivenessFinding};
use crate::submission::Submission;
use crate::{State, live_session};

/// What the media of a check show.
pub struct Examination {
    pub faces: FaceFindings,
    pub reading: Reading,
    pub liveness: LivenessFinding,
    pub evidence: Vec<Evidence>,
    pub frames: usize,
}

/// Name of a compared frame in the bucket, from 1.
pub fn frame_name(number: usize) -> String {
    format!("frame_{number}.jpg")
}

/// Decodes the media, compares the faces and reads the document. The frames that are compared are stored.
pub async fn examine(state: &State, submission: &Submission, form: &Form) -> Result<Examination, Failure> {
    let (front, back, video) = decode(state, form).await?;
    let photos = Photos { front: front.jpeg, back: back.as_ref().map(|back| back.jpeg.clone()) };
    let today = Utc::now().date_naive();
    let faces = async { state.comparison.compare(&video.frames, &photos).await.map_err(of_examination) };
    let reading = async {
        let reading = document::read(&state.comparison, &state.reader, &photos, today).await;
        reading.map_err(of_examination)
    };
    let frames = store_frames(state, submission, &video.frames);
    let liveness = liveness(state, submission, &photos.front);
    let (faces, reading, (), liveness) = try_join4(faces, reading, frames, liveness).await?;
    let digests = std::iter::once(&front.digest).chain(back.as_ref().map(|back| &back.digest));
    let mut pieces = vec![(EvidenceKind::Video, video.digest.clone())];
    pieces.extend(digests.map(|digest| (EvidenceKind::Photo, digest.clone())));
    pieces.extend(reading.identities(today).into_iter().map(|identity| (EvidenceKind::Document, identity)));
    // The same photo can be sent for both sides.
    pieces.dedup();
    let evidence = evidence(submission, &pieces);
    Ok(Examination { faces, reading, liveness, evidence, frames: video.frames.len() })
}

/// Decodes the media, one after the other, since each run of ffmpeg may take most of the memory.
async fn decode(state: &State, form: &Form) -> Result<(Photo, Option<Photo>, Video), Failure> {
    let file = |field: &str| {
        let file = form.files.get(field);
        file.ok_or_else(|| Failure::of_processing("the form has no file", AttemptUse::GivenBack))
    };
    let photo = async |field: &str| {
        let photo = state.ffmpeg.photo(file(field)?).await;
        photo.map_err(|error| of_media(field, error))
    };
    let front = photo("id_photo").await?;
    let back = if form.files.contains_key("id_photo_back") { Some(photo("id_photo_back").await?) } else { None };
    let video = state.ffmpeg.video(file("selfie_video")?).await;
    Ok((front, back, video.map_err(|error| of_media("selfie_video", error))?))
}

/// Stores the compared frames beside the media.
async fn store_frames(state: &State, submission: &Submission, frames: &[Bytes]) -> Result<(), Failure> {
    let stored = frames.iter().enumerate().map(async |(place, frame)| {
        let key = check_key(submission.profile_id().as_str(), &submission.check_id, &frame_name(place + 1));
        state.uploads.bucket().put(&key, "image/jpeg", frame.clone()).await
    });
    try_join_all(stored).await?;
    Ok(())
}

/// The finding about Face Liveness.
async fn liveness(state: &State, submission: &Submission, photo: &Bytes) -> Result<LivenessFinding, Failure> {
    let (pocketbase, same_from) = (&state.backend.pocketbase, state.thresholds.compare_faces_from);
    let finding = state.liveness.examine(pocketbase, &state.comparison, submission.profile_id(), photo, same_from);
    finding.await.map_err(|error| match error {
        live_session::Error::PocketBase(error) => error.into(),
        live_session::Error::Compare(error) => of_examination(error),
    })
}

/// The evidence that the check is about to use. That of open links is apart, so that a stranger takes nothing from a person of the
/// partner's backend; and it is looked up among the other as well.
fn evidence(submission: &Submission, pieces: &[(EvidenceKind, String)]) -> Vec<Evidence> {
    let team = submission.profile.team.as_ref();
    let is_open = submission.origin == Origin::Open;
    let own = pieces.iter().map(|(kind, digest)| match is_open {
        true => Evidence::of_open_link(team, *kind, digest),
        false => Evidence::new(team, *kind, digest),
    });
    let others =
        pieces.iter().filter(|_| is_open).map(|(kind, digest)| Evidence::new(team, *kind, digest).only_looked_up());
    own.chain(others).collect()
}
