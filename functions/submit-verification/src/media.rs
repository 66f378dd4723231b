//! Conversion of videos and photos to JPEG with ffmpeg. Each run of ffmpeg reads one local file and has limited time, memory and
//! disk space; the runs of a check come one after the other.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use rand::seq::IteratorRandom;
use sha2::{Digest, Sha256};
use shared::env::Env;
use shared::file::{Content, File, Unreadable};
use shared::types::hex;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// Time limit of ffmpeg per file.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Limits of ffmpeg as `ulimit` takes them: data, address space and stack in KiB, core dumps, CPU time in s, file size in blocks of 512 B.
/// The limit of data keeps ffmpeg below 840 MB; docs/media.md has what hostile files were measured to take. A small stack lets the many
/// threads of a tiled HEIC photo fit.
const LIMITS: &str = "ulimit -d 800000; ulimit -v 1000000; ulimit -s 1024; ulimit -c 0; ulimit -t 40; ulimit -f 200000; \
                      exec \"$0\" \"$@\"";

/// The most pixels of a photo: 64 megapixels, as of high-resolution phone cameras.
const PHOTO_PIXELS: &str = "64000000";

/// The most pixels of a frame of a video: 4K has 8.9 megapixels.
const FRAME_PIXELS: &str = "9500000";

/// The most streams of a file. A HEIC photo of a phone has a stream for each of its tiles, and a video has two or three.
const PHOTO_STREAMS: &str = "256";
const VIDEO_STREAMS: usize = 32;

/// Decoders that may run on a video.
const VIDEO_DECODERS: &str = "h264,hevc,vp8,vp9,libdav1d,mpeg4,mpeg1video,mpeg2video,mjpeg,h263,msmpeg4,msmpeg4v2,msmpeg4v1,\
                              wmv1,wmv2,wmv3,vc1,theora";

/// Number of frames of a video that are compared.
pub const FRAMES: usize = 5;

/// Length of the examined part of a video, in seconds.
const EXAMINED: f64 = 10.0;

/// Time between two candidates for comparison, in seconds. One is taken at a random time in each window of this length.
const WINDOW: f64 = 0.3;

/// The shortest video, in seconds.
const SHORTEST: f64 = 2.0;

/// Time for which one frame counts towards the length of a video, in seconds. A picture that is shown for longer does not move.
const STILL: f64 = 0.5;

/// The least number of different frames of a video.
const DIFFERENT_FRAMES: usize = 5;

/// The most bytes of the list of frames. A line has about 90 bytes, and ffmpeg stops after 3,000 frames.
const MAX_LIST: u64 = 1024 * 1024;

/// The longest side of a photo, in pixels.
const PHOTO_SIDE: u32 = 2_048;

/// The longest side of a frame, in pixels. It is shorter than that of a photo, since faces are large in a selfie.
const FRAME_SIDE: u32 = 1_024;

/// Prefix of temporary folders.
const PREFIX: &str = "identivia-check-";

/// Age at which a temporary folder counts as abandoned. No request takes as long.
const ABANDONED: Duration = Duration::from_secs(120);

/// Failure to decode a file.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// ffmpeg cannot decode the file within its limits.
    #[error("cannot be decoded: {0}")]
    Undecodable(String),
    /// The video can be decoded, and is not one that can be judged.
    #[error("{0}")]
    Unsuitable(&'static str),
    /// The file cannot be read from storage.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// ffmpeg or the disk failed.
    #[error("media: {0}")]
    Failed(#[from] io::Error),
}

/// A decoded video.
pub struct Video {
    /// Five frames at random times, as JPEG, in order.
    pub frames: Vec<Bytes>,
    /// SHA-256 of the encoded pictures, which a change of the container or of metadata does not change.
    pub digest: String,
}

/// A decoded photo.
pub struct Photo {
    /// The photo as JPEG, upright and without metadata.
    pub jpeg: Bytes,
    /// SHA-256 of the JPEG, which a change of metadata does not change.
    pub digest: String,
}

/// Photos of a document, as JPEG.
pub struct Photos {
    pub front: Bytes,
    pub back: Option<Bytes>,
}

/// Input of ffmpeg: its container format, and its name in the temporary folder.
#[derive(Clone, Copy)]
struct Source {
    format: Option<&'static str>,
    input: &'static str,
}

/// Runs ffmpeg. Built once per execution environment.
pub struct Ffmpeg {
    path: PathBuf,
}

impl Ffmpeg {
    /// Reads `FFMPEG_PATH`; `/opt/bin/ffmpeg` by default, its path in the Lambda layer. A missing file is detected by the first
    /// request. Also deletes abandoned temporary folders, and hides the secrets of this process from ffmpeg, which runs as the same user.
    ///
    /// # Errors
    /// When the process cannot be protected.
    pub fn from_env(env: &Env) -> io::Result<Self> {
        // A process that is not dumpable keeps its environment and memory in /proc to itself.
        #[cfg(target_os = "linux")]
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
        delete_abandoned();
        Ok(Self { path: env.get("FFMPEG_PATH").unwrap_or("/opt/bin/ffmpeg").into() })
    }

    /// Five frames of a video as JPEG, at random times within its first ten seconds. A time is chosen, and the frame that is shown then
    /// is taken, so that what is judged is what a person would see, and nobody can foretell which frames are.
    ///
    /// # Errors
    /// When the video cannot be decoded or read, is too short, does not move, or has several streams of pictures; when ffmpeg or the disk
    /// fails.
    pub async fn video(&self, video: &File) -> Result<Video, MediaError> {
        delete_abandoned();
        let folder = TempDir::with_prefix(PREFIX)?;
        save(video, folder.path()).await?;
        let times = random_times();
        let (graph, candidates) = (graph(&times), times.len().to_string());
        // One pass: the encoded pictures are hashed per stream; all frames go, tiny and grey, into a list of their times and hashes; those
        // that are shown at the chosen times become JPEG files.
        let most_streams = VIDEO_STREAMS.to_string();
        let mut before = vec!["-protocol_whitelist", "file,pipe", "-max_streams", &most_streams, "-threads", "1"];
        before.extend(["-reinit_filter", "0", "-max_pixels", FRAME_PIXELS, "-codec_whitelist", VIDEO_DECODERS]);
        before.extend(["-filter_threads", "1", "-filter_complex_threads", "1"]);
        if video.file_type.media_type == "video/mpeg" {
            // A second stream can begin anywhere in the file.
            before.extend(["-probesize", "52428800", "-analyzeduration", "100000000000"]);
        }
        let streams = ["-filter_complex", &graph, "-map", "0", "-copy_unknown", "-c", "copy", "-f", "streamhash"];
        let all = ["-hash", "sha256", "-y", "streams", "-map", "[all]", "-fps_mode", "passthrough"];
        let list = ["-enc_time_base", "filter", "-c:v", "rawvideo", "-f", "framehash", "-hash", "murmur3", "pipe:1"];
        let chosen = ["-map", "[chosen]", "-fps_mode", "passthrough", "-frames:v", &candidates, "-c:v", "mjpeg"];
        let jpeg = ["-q:v", "3", "-threads", "1", "-map_metadata", "-1", "-f", "image2", "frame%02d.jpg"];
        let how = [&streams[..], &all, &list, &chosen, &jpeg].concat();
        let source = Source { format: format_of(video.file_type.media_type), input: "file:input" };
        let list = self.run(source, folder.path(), &before, &how).await?;
        let streams = tokio::fs::read_to_string(folder.path().join("streams")).await?;
        let digest = only_stream(&streams)?;
        judge(&String::from_utf8_lossy(&list))?;
        let mut paths = Vec::new();
        let mut entries = tokio::fs::read_dir(folder.path()).await?;
        while let Some(entry) = entries.next_entry().await? {
            paths.extend(Some(entry.path()).filter(|path| path.extension().is_some_and(|kind| kind == "jpg")));
        }
        let mut chosen = paths.into_iter().sample(&mut rand::rng(), FRAMES);
        chosen.sort_unstable();
        let mut frames = Vec::new();
        for path in chosen {
            frames.push(Bytes::from(tokio::fs::read(path).await?));
        }
        if frames.len() < FRAMES { Err(TOO_SHORT) } else { Ok(Video { frames, digest }) }
    }

    /// A photo as JPEG of at most 2,048 pixels per side.
    ///
    /// # Errors
    /// When the photo cannot be decoded or read, or ffmpeg or the disk fails.
    pub async fn photo(&self, photo: &File) -> Result<Photo, MediaError> {
        let folder = TempDir::with_prefix(PREFIX)?;
        save(photo, folder.path()).await?;
        let media_type = photo.file_type.media_type;
        let before = |decoders| {
            let threads = ["-filter_threads", "1", "-filter_complex_threads", "1", "-threads", "1"];
            let limits = ["-protocol_whitelist", "file", "-max_streams", PHOTO_STREAMS, "-max_pixels", PHOTO_PIXELS];
            [&threads[..], &limits, &["-codec_whitelist", decoders]].concat()
        };
        let mut source = Source { format: format_of(media_type), input: "file:input" };
        let mut decoders = decoders_of(media_type);
        if matches!(media_type, "image/heif" | "image/avif") {
            // The picture can consist of tiles, and be one of several. ffmpeg assembles and turns the primary one only without a filter.
            let how =
                ["-map_metadata", "-1", "-frames:v", "1", "-pix_fmt", "yuv420p", "-c:v", "rawvideo", "-f", "nut", "-y"];
            self.run(source, folder.path(), &before(decoders), &[&how[..], &["whole.nut"]].concat()).await?;
            source = Source { format: Some("nut"), input: "file:whole.nut" };
            decoders = "rawvideo";
        }
        let fit = format!(
            "scale='min({PHOTO_SIDE},iw)':'min({PHOTO_SIDE},ih)':force_original_aspect_ratio=decrease,format=yuvj420p"
        );
        let jpeg = ["-map_metadata", "-1", "-frames:v", "1", "-c:v", "mjpeg", "-q:v", "3", "-threads", "1"];
        let how = [&["-map", "0:v:0", "-vf", &fit], &jpeg[..], &["-f", "image2", "-update", "1", "-y", "photo.jpg"]];
        self.run(source, folder.path(), &before(decoders), &how.concat()).await?;
        match tokio::fs::read(folder.path().join("photo.jpg")).await {
            Ok(bytes) if !bytes.is_empty() => Ok(Photo { digest: hex(Sha256::digest(&bytes)), jpeg: bytes.into() }),
            _ => Err(MediaError::Undecodable("no picture".to_owned())),
        }
    }

    /// Runs ffmpeg on a file in a folder, with limits, and returns what it wrote to its standard output.
    async fn run(&self, source: Source, folder: &Path, before: &[&str], how: &[&str]) -> Result<Vec<u8>, MediaError> {
        let format = source.format.ok_or_else(|| MediaError::Undecodable("an unknown type".to_owned()))?;
        let mut command = Command::new("/bin/sh");
        command.args(["-c", LIMITS]).arg(&self.path).args(["-nostdin", "-hide_banner", "-loglevel", "quiet"]);
        // The detected format is given, so that ffmpeg does not read a playlist or script as a video. Only local files are allowed,
        // so that ffmpeg fetches nothing.
        command.args(before).args(["-f", format, "-i", source.input]).args(how).current_dir(folder);
        // ffmpeg gets no environment variables of this process, which include secrets. Its messages can repeat metadata of the file.
        command.env_clear().env("MALLOC_ARENA_MAX", "2");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let run = async {
            let mut child = command.spawn()?;
            let mut written = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                // ffmpeg ends when the rest cannot be written.
                stdout.take(MAX_LIST).read_to_end(&mut written).await?;
            }
            Ok::<_, io::Error>((child.wait().await?, written))
        };
        let (status, written) = match tokio::time::timeout(TIMEOUT, run).await {
            Ok(ended) => ended?,
            Err(_) => return Err(MediaError::Undecodable(format!("not done in {} s", TIMEOUT.as_secs()))),
        };
        match status.code() {
            Some(0) => Ok(written),
            // The shell's exit codes for a command that is missing or not executable.
            Some(126 | 127) => Err(io::Error::other("FFMPEG_PATH cannot be run").into()),
            code => Err(MediaError::Undecodable(format!("ffmpeg ended with {code:?}"))),
        }
    }
}

const TOO_SHORT: MediaError = MediaError::Unsuitable("must be a video of at least 2 seconds; record it again");

/// A random time in each window of the examined part, in seconds.
fn random_times() -> Vec<f64> {
    let windows = (0..).map(|window| f64::from(window) * WINDOW).take_while(|start| start + WINDOW <= EXAMINED);
    windows.map(|start| start + rand::random::<f64>() * WINDOW).collect()
}

/// Filter graph that lists all frames and chooses those that are shown at these times.
///
/// Times that jump beyond the examined part end the video. The time of a frame on the second path is the number of chosen times that have
/// passed when it appears, so that one frame per second is the one that is shown at each chosen time.
fn graph(times: &[f64]) -> String {
    let mut passed = String::new();
    for (place, time) in times.iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = write!(passed, "{}gt(T,{time:.6})", if place == 0 { "" } else { "+" });
    }
    // Frames of another size are fitted into the same square, since a JPEG file per frame needs one size.
    let side = FRAME_SIDE;
    format!(
        "[0:v:0]settb=1/1000000,setpts='if(gte(PREV_OUTPTS,10000000),20000000,min(PTS-STARTPTS,10000000))',trim=end=15,\
         trim=end_frame=3000,split[a][b];[a]scale=32:32:flags=area,format=gray[all];\
         [b]setpts='({passed})/TB',fps=1:start_time=0,\
         scale='min({side},iw)':'min({side},ih)':force_original_aspect_ratio=decrease:eval=frame,\
         pad={side}:{side}:(ow-iw)/2:(oh-ih)/2:eval=frame,format=yuvj420p[chosen]"
    )
}

/// Hash of the only stream of pictures, in ffmpeg's list of all streams (`0,v,SHA256=…`).
fn only_stream(list: &str) -> Result<String, MediaError> {
    let is_picture = |line: &&str| line.split(',').nth(1) == Some("v");
    let mut hashes = list.lines().filter(is_picture).filter_map(|line| line.rsplit_once('=').map(|(_, hash)| hash));
    match (hashes.next(), hashes.next()) {
        // ffmpeg does not see more streams than this.
        (Some(hash), None) if list.lines().count() < VIDEO_STREAMS => Ok(hash.trim().to_owned()),
        (None, _) => Err(MediaError::Undecodable("no pictures".to_owned())),
        // A player may show another stream than the one that is examined.
        _ => Err(MediaError::Unsuitable("must have one stream of pictures; record it again")),
    }
}

/// Checks the list of frames (ffmpeg's framehash: stream, decoding time, time, duration, size, hash): a video must be long enough, and
/// move.
fn judge(list: &str) -> Result<(), MediaError> {
    let mut unit = 1.0;
    let mut frames: Vec<(f64, f64, &str)> = Vec::new();
    for line in list.lines() {
        if let Some(ratio) = line.strip_prefix("#tb 0:") {
            let (part, whole) = ratio.trim().split_once('/').unwrap_or(("1", "1"));
            let (part, whole): (f64, f64) = (part.parse().unwrap_or(1.0), whole.parse().unwrap_or(1.0));
            unit = part / whole;
        } else if !line.starts_with('#') {
            let mut columns = line.split(',').map(str::trim).skip(2);
            let mut seconds = || columns.next()?.parse::<f64>().ok().map(|ticks| ticks * unit);
            let (Some(at), Some(duration)) = (seconds(), seconds()) else { continue };
            frames.extend(columns.nth(1).map(|hash| (at, duration, hash)));
        }
    }
    let end = frames.last().map_or(0.0, |(at, duration, _)| (at + duration).min(EXAMINED));
    frames.retain(|(at, ..)| *at < EXAMINED);
    let ends = frames.iter().skip(1).map(|(at, ..)| *at).chain([end]);
    let moving: f64 = frames.iter().zip(ends).map(|((at, ..), end)| (end - at).clamp(0.0, STILL)).sum();
    let different: HashSet<_> = frames.iter().map(|(.., hash)| *hash).collect();
    // A tenth less, since a recording of two seconds ends a frame earlier.
    if moving < SHORTEST - 0.1 {
        return Err(TOO_SHORT);
    }
    if different.len() < DIFFERENT_FRAMES {
        return Err(MediaError::Unsuitable("must be a video of a person who moves, and not a still picture"));
    }
    Ok(())
}

/// Deletes temporary folders of killed processes. Lambda may keep the disk for the next process.
fn delete_abandoned() {
    let entries = std::fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        let modified = entry.metadata().and_then(|metadata| metadata.modified()).ok();
        if modified.and_then(|modified| modified.elapsed().ok()).is_some_and(|age| age > ABANDONED) {
            // A concurrent process may have deleted the folder.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

/// Saves a file to disk, since a video does not fit into the function's memory.
async fn save(file: &File, folder: &Path) -> Result<(), MediaError> {
    let mut saved = tokio::fs::File::create(folder.join("input")).await?;
    match &file.content {
        Content::Inline(bytes) => saved.write_all(bytes).await?,
        Content::Stored(stored) => {
            let mut chunks = stored.chunks().await?;
            while let Some(chunk) = chunks.next().await {
                saved.write_all(&chunk?).await?;
            }
        }
    }
    saved.flush().await?;
    Ok(())
}

/// ffmpeg's name of the container format of a media type of [`shared::file::Media`].
fn format_of(media_type: &str) -> Option<&'static str> {
    Some(match media_type {
        "image/jpeg" => "jpeg_pipe",
        "image/png" => "png_pipe",
        "image/webp" => "webp_pipe",
        "image/gif" => "gif",
        "image/bmp" => "bmp_pipe",
        "image/tiff" => "tiff_pipe",
        "image/heif" | "image/avif" | "video/mp4" | "video/x-m4v" | "video/quicktime" | "video/3gpp" => "mov",
        "video/webm" | "video/x-matroska" => "matroska",
        "video/mpeg" => "mpeg",
        "video/x-msvideo" => "avi",
        "video/x-ms-wmv" => "asf",
        "video/ogg" => "ogg",
        _ => return None,
    })
}

/// Decoders that may run on a photo of a media type.
fn decoders_of(media_type: &str) -> &'static str {
    match media_type {
        "image/jpeg" => "mjpeg",
        "image/png" => "png",
        "image/webp" => "webp",
        "image/gif" => "gif",
        "image/bmp" => "bmp",
        "image/tiff" => "tiff,mjpeg",
        _ => "hevc,libdav1d,mjpeg",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use shared::file::Media;

    use super::*;

    #[test]
    fn every_accepted_type_has_a_format() {
        for media_type in Media::Image.types().iter().chain(Media::Video.types()) {
            assert!(format_of(media_type).is_some(), "{media_type}");
        }
        assert_eq!(format_of("application/x-mpegurl"), None);
    }

    #[test]
    fn abandoned_folders_are_deleted_and_used_ones_are_not() {
        let (left, used) = (TempDir::with_prefix(PREFIX).unwrap(), TempDir::with_prefix(PREFIX).unwrap());
        std::fs::write(left.path().join("frame01.jpg"), "a face").unwrap();
        let long_ago = std::time::SystemTime::now() - ABANDONED * 2;
        std::fs::File::open(left.path()).unwrap().set_modified(long_ago).unwrap();
        delete_abandoned();
        assert!(!left.path().exists() && used.path().exists());
    }

    /// A list of frames, one per `every` milliseconds, with `different` hashes.
    fn list(frames: usize, every: usize, different: usize) -> String {
        let lines = (0..frames).map(|n| format!("0, {0}, {0}, {every}, 1024, {1:08x}\n", n * every, n % different));
        format!("#format: frame checksums\n#tb 0: 1/1000\n{}", lines.collect::<String>())
    }

    #[test]
    fn a_video_must_be_long_enough_and_move() {
        assert!(judge(&list(60, 33, 60)).is_ok());
        assert!(
            matches!(judge(&list(10, 33, 10)), Err(MediaError::Unsuitable(reason)) if reason.contains("2 seconds"))
        );
        assert!(matches!(judge(&list(60, 33, 4)), Err(MediaError::Unsuitable(reason)) if reason.contains("moves")));
        // One picture that is shown for nine seconds is no longer than half a second.
        assert!(matches!(judge(&list(1, 9_000, 1)), Err(MediaError::Unsuitable(_))));
        assert!(matches!(judge(""), Err(MediaError::Unsuitable(_))));
    }

    #[test]
    fn one_stream_of_pictures_is_accepted() {
        assert_eq!(only_stream("0,v,SHA256=abc\n").unwrap(), "abc");
        assert!(only_stream("0,v,SHA256=abc\n1,v,SHA256=def\n").is_err());
        assert_eq!(only_stream("0,a,SHA256=def\n1,v,SHA256=abc\n").unwrap(), "abc");
        assert!(only_stream("").is_err());
        let many: String = (0..31).map(|n| format!("{n},a,SHA256=abc\n")).collect();
        assert!(only_stream(&format!("31,v,SHA256=abc\n{many}")).is_err());
    }

    #[test]
    fn times_are_random_and_cover_the_examined_part() {
        let (one, other) = (random_times(), random_times());
        assert_eq!(one.len(), 33);
        assert!(one.is_sorted() && one.iter().all(|time| (0.0..EXAMINED).contains(time)));
        assert_ne!(one, other);
    }
}
