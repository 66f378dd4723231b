/// Uploads that are sent to the bucket directly, checks of the hosted page, and webhooks to partners.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    const collection = (name) => app.findCollectionByNameOrId(name);
    const notSet = (...fields) => fields.map((field) => `@request.body.${field}:isset = false`).join(" && ");
    const text = (name, max, more = {}) => new TextField({ name, max, ...more });
    const date = (name) => new DateField({ name });
    const json = (name, maxSize) => new JSONField({ name, maxSize });
    const flag = (name) => new BoolField({ name });
    const one = (name, to, more = {}) =>
      new RelationField({ name, collectionId: collection(to).id, maxSelect: 1, ...more });
    const timestamps = () => [
      new AutodateField({ name: "created", onCreate: true }),
      new AutodateField({ name: "updated", onCreate: true, onUpdate: true }),
    ];
    function make(name, fields, indexes, rules) {
      const made = new Collection({ type: "base", name });
      for (const field of fields) made.fields.add(field);
      for (const [unique, index, columns, where] of indexes) made.addIndex(index, unique, columns, where || "");
      Object.assign(made, rules);
      app.save(made);
    }

    // Batches: some records must change together, such as a result and its webhooks, or a file and its upload.
    const settings = app.settings();
    settings.batch.enabled = true;
    // Enough for a check with two webhooks for each of 100 partners of a team.
    settings.batch.maxRequests = Math.max(settings.batch.maxRequests, 210);
    // The timeout is in seconds. The body size, in bytes, is enough for a video of 50 MB beside images.
    settings.batch.timeout = Math.max(settings.batch.timeout, 15);
    settings.batch.maxBodySize = Math.max(settings.batch.maxBodySize, 128 * 1024 * 1024);
    app.save(settings);

    make(
      "uploads",
      [
        text("team", 64),
        // The caller that may use it: a keyed hash of its identity.
        text("owner", 64, { required: true }),
        one("profile", "profiles", { cascadeDelete: true }),
        text("field", 32, { required: true }),
        text("content_type", 64, { required: true }),
        new NumberField({ name: "size", onlyInt: true, min: 1, required: true }),
        // SHA-256 of the inspected bytes, in Base64. Other bytes are refused afterwards.
        text("checksum", 128),
        date("used"),
        // "<UTC day>#<n>" of an upload by flow token. The unique index makes the daily limit exact.
        text("flow_attempt", 16),
        ...timestamps(),
      ],
      [
        [true, "idx_uploads_flow_attempt", "profile, flow_attempt", "flow_attempt != ''"],
        [false, "idx_uploads_created", "created"],
      ],
      {
        listRule: SERVICE,
        createRule: `${SERVICE} && (@request.query.by != "flow" ||
          (profile.verification_status != "verified" && profile.verification_status != "rejected")) && profile.redacted != true`,
        // The checksum is set once, and the upload is used once.
        updateRule: `${SERVICE} && used = "" && (checksum = "" || checksum = @request.body.checksum) &&
          ${notSet("team", "owner", "profile", "field", "content_type", "size", "flow_attempt")}`,
        deleteRule: SERVICE,
      },
    );

    make(
      "checks",
      [
        text("check_id", 36, { required: true }),
        text("team", 64),
        text("partner", 32),
        one("profile", "profiles", { required: true }),
        text("user_identifier", 255),
        text("user_email", 254),
        text("user_phone", 64),
        new SelectField({
          name: "status",
          values: ["processing", "verified", "rejected", "pending", "failed"],
          maxSelect: 1,
          required: true,
        }),
        // Reason of a failure.
        text("reason", 255),
        // Result: scores, risk factors, summary. Written with the outcome.
        json("result", 64 * 1024),
        // Object keys of the media in the bucket; empty once they are deleted.
        text("selfie_video", 255),
        text("id_photo", 255),
        text("flow_attempt", 16),
        date("completed"),
        flag("redacted"),
        ...timestamps(),
      ],
      [
        [true, "idx_checks_check_id", "check_id"],
        [true, "idx_checks_flow_attempt", "profile, flow_attempt", "flow_attempt != ''"],
        [false, "idx_checks_profile", "profile"],
        [false, "idx_checks_processing", "created", "status = 'processing'"],
        [false, "idx_checks_media", "created", "selfie_video != '' OR id_photo != ''"],
      ],
      {
        listRule: SERVICE,
        createRule: `${SERVICE} && status = "processing" && (@request.query.by != "flow" ||
          (profile.verification_status != "verified" && profile.verification_status != "rejected")) && profile.redacted != true`,
        // The outcome is written once. Afterwards only the media keys and the person's data can be removed.
        updateRule: `${SERVICE} && ${notSet("check_id", "team", "partner", "profile")} && (
          (status = "processing" && @request.body.status:isset = true
            && (profile.redacted != true || @request.body.status = "failed")) ||
          (${notSet("status", "reason", "result", "completed", "flow_attempt")}
            && @request.body.selfie_video:isset = true && @request.body.selfie_video = ""
            && @request.body.id_photo:isset = true && @request.body.id_photo = ""))`,
      },
    );

    // The retention job deletes the images of faces.
    const sessions = collection("liveness_sessions");
    sessions.updateRule = `(${sessions.updateRule}) || (${SERVICE} &&
      @request.body.reference_image:isset = true && @request.body.reference_image = "" &&
      @request.body.audit_images:isset = true && @request.body.audit_images:length = 0 &&
      ${notSet("session_id", "team", "profile", "status", "confidence", "flow_attempt", "redacted")})`;
    app.save(sessions);
    const audit = collection("audit");
    audit.listRule = SERVICE;
    app.save(audit);

    const history = collection("verification_history");
    history.fields.add(one("check", "checks"));
    history.addIndex("idx_verification_history_check", true, "`check`", "`check` != ''");
    history.updateRule = `${history.updateRule} && ${notSet("check")}`;
    app.save(history);

    const partners = collection("partners");
    for (const field of [
      new URLField({ name: "webhook_url" }),
      // [{"secret": "whsec_…", "until": "…"?}], the newest first. A secret with a time signs until then.
      json("webhook_secrets", 4096),
      // Events that the partner is subscribed to. Empty means all except opt-in events.
      json("webhook_events", 1024),
      // Time since which the endpoint has failed without a success or a pause, and time of its last failure.
      date("webhook_failing_since"),
      date("webhook_last_failure"),
      date("webhook_disabled"),
      text("webhook_disabled_reason", 255),
      // {"primary", "background", "text", "logo"}
      json("theme", 256 * 1024),
    ]) {
      partners.fields.add(field);
    }
    partners.updateRule = `${SERVICE} && ${notSet("name", "team", "active", "secret_key_hash", "publishable_key_hash")} &&
      ${notSet("webhook_url", "webhook_secrets", "webhook_events", "theme")}`;
    app.save(partners);

    make(
      "webhook_deliveries",
      [
        text("team", 64),
        one("partner", "partners", { required: true, cascadeDelete: true }),
        one("profile", "profiles"),
        one("check", "checks"),
        // Webhooks of one stream are delivered in the order in which they were written.
        text("stream", 36, { required: true }),
        text("event", 64, { required: true }),
        // The body without the media URLs, which are signed for each attempt.
        json("payload", 64 * 1024),
        new SelectField({ name: "state", values: ["pending", "delivered", "failed"], maxSelect: 1, required: true }),
        // Number of attempts since it was written or last resent.
        new NumberField({ name: "tries", onlyInt: true, min: 0 }),
        // Whether it was resent after it had ended. It then does not block its stream.
        flag("resent"),
        // [{"at", "status"?, "error"?, "milliseconds", "response"?}], the newest last.
        json("attempts", 256 * 1024),
        date("next_attempt"),
        // Lease of the process that delivers it, and the lease's end.
        text("lease", 64),
        date("leased_until"),
        date("delivered"),
        flag("redacted"),
        ...timestamps(),
      ],
      [
        [false, "idx_webhook_deliveries_pending", "stream, partner", "state = 'pending'"],
        [false, "idx_webhook_deliveries_due", "next_attempt", "state = 'pending'"],
        [false, "idx_webhook_deliveries_team", "team, created"],
        [false, "idx_webhook_deliveries_profile", "profile"],
      ],
      {
        listRule: SERVICE,
        createRule: `${SERVICE} && state = "pending"`,
        // Four changes are allowed: leasing a due webhook, resending, storing a result by the holder of the lease, and redaction. Only
        // redaction changes the payload.
        updateRule: `${SERVICE} && ${notSet("team", "partner", "profile", "check", "stream", "event")} && redacted = false && (
          (${notSet("payload", "redacted", "resent", "state")} && (leased_until = "" || leased_until < @now) && state = "pending"
            && next_attempt <= @now && partner.active = true && partner.webhook_disabled = "") ||
          (${notSet("payload", "redacted")} && (leased_until = "" || leased_until < @now)
            && @request.body.state = "pending" && @request.body.lease:isset = true && @request.body.lease = "") ||
          (${notSet("payload", "redacted", "resent")} && @request.body.state:isset = true && lease != "" && lease = @request.body.lease) ||
          (@request.body.redacted = true && @request.body.payload:isset = true))`,
      },
    );

    // View of the queue: the first pending webhook of each stream and partner, and resent ones, with their endpoint and secrets.
    app.save(
      new Collection({
        type: "view",
        name: "webhook_queue",
        listRule: SERVICE,
        viewQuery: `
          SELECT d.id, d.team, d.partner, d.stream, d.event, d.next_attempt, d.leased_until,
            c.selfie_video, c.id_photo,
            p.webhook_url, p.webhook_secrets, p.webhook_failing_since, p.webhook_last_failure
          FROM webhook_deliveries AS d
          JOIN partners AS p ON p.id = d.partner
          LEFT JOIN checks AS c ON c.id = d."check"
          WHERE d.state = 'pending' AND d.redacted = FALSE AND p.active = TRUE
            AND p.webhook_url != '' AND p.webhook_disabled = ''
            AND (d.resent = TRUE OR NOT EXISTS (SELECT 1 FROM webhook_deliveries AS e
              WHERE e.stream = d.stream AND e.partner = d.partner AND e.rowid < d.rowid
                AND e.state = 'pending' AND e.resent = FALSE AND e.redacted = FALSE))`,
      }),
    );

    // View of the deliveries that a partner can read.
    app.save(
      new Collection({
        type: "view",
        name: "webhook_delivery_overview",
        listRule: SERVICE,
        viewQuery: `
          SELECT d.id, d.team, d.partner, d.event, d.payload, d.state, d.attempts, d.next_attempt, d.delivered, d.created,
            c.check_id, c.selfie_video, c.id_photo, p.webhook_url, p.webhook_disabled, p.webhook_disabled_reason
          FROM webhook_deliveries AS d
          JOIN partners AS p ON p.id = d.partner
          LEFT JOIN checks AS c ON c.id = d."check"
          WHERE d.redacted = FALSE`,
      }),
    );

    const owners = collection("verification_overview");
    if (!owners.viewQuery.includes("p.team,")) throw new Error("verification_overview is not the view that this migration knows");
    owners.viewQuery = owners.viewQuery.replace("p.team,", "p.team, p.user_id,");
    app.save(owners);

    const overview = collection("profile_overview");
    const today = "CAST(date('now') AS TEXT) AS today";
    if (!overview.viewQuery.includes(today)) throw new Error("profile_overview is not the view that this migration knows");
    const made = (table) => `CAST((SELECT COUNT(*) FROM ${table} AS t
        WHERE t.profile = p.id AND substr(t.flow_attempt, 1, 10) = date('now')) AS INT)`;
    overview.viewQuery = overview.viewQuery.replace(
      today,
      `p.user_id, ${made("uploads")} AS flow_uploads_today, ${made("checks")} AS flow_checks_today, ${today}`,
    );
    app.save(overview);
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
