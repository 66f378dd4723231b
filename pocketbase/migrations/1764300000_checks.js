/// Uploads that go past the API, checks of the hosted page, and the webhooks that tell partners of them.
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

    // Several records change together or not at all: a result and its webhooks, a file and the upload that it came from.
    const settings = app.settings();
    settings.batch.enabled = true;
    // A check with two webhooks for each of 100 partners of a team.
    settings.batch.maxRequests = Math.max(settings.batch.maxRequests, 210);
    // In seconds; and in bytes, for a video of 50 MB beside images.
    settings.batch.timeout = Math.max(settings.batch.timeout, 15);
    settings.batch.maxBodySize = Math.max(settings.batch.maxBodySize, 128 * 1024 * 1024);
    app.save(settings);

    make(
      "uploads",
      [
        text("team", 64),
        // Who may use it: a keyed hash of a caller's identity.
        text("owner", 64, { required: true }),
        one("profile", "profiles", { cascadeDelete: true }),
        text("field", 32, { required: true }),
        text("content_type", 64, { required: true }),
        new NumberField({ name: "size", onlyInt: true, min: 1, required: true }),
        // the SHA-256 of the bytes that were looked at, in Base64: no others are looked at after them.
        text("checksum", 128),
        date("used"),
        // "<UTC day>#<n>" of an upload made with a flow token; the unique index makes the daily limit exact.
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
        // Looked at once, used once.
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
        // Why it failed.
        text("reason", 255),
        // What was found: scores, risk factors, summary. Written with the outcome.
        json("result", 64 * 1024),
        // Where its media are in the bucket, until they are deleted.
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
        // Decided once. Afterwards its media may go, and the person.
        updateRule: `${SERVICE} && ${notSet("check_id", "team", "partner", "profile")} && (
          (status = "processing" && @request.body.status:isset = true
            && (profile.redacted != true || @request.body.status = "failed")) ||
          (${notSet("status", "reason", "result", "completed", "flow_attempt")}
            && @request.body.selfie_video:isset = true && @request.body.selfie_video = ""
            && @request.body.id_photo:isset = true && @request.body.id_photo = ""))`,
      },
    );

    // Faces do not stay for longer than the check that they were for.
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
      // [{"secret": "whsec_…", "until": "…"?}], the newest first; those with a time sign until then.
      json("webhook_secrets", 4096),
      // Which events it wants; none is all but the opt-in ones.
      json("webhook_events", 1024),
      // Since when it has failed without any success or pause, and when it did so last.
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
        // Within a stream webhooks are delivered in the order in which they were written.
        text("stream", 36, { required: true }),
        text("event", 64, { required: true }),
        // The body but for the media's URLs, which are signed for each attempt.
        json("payload", 64 * 1024),
        new SelectField({ name: "state", values: ["pending", "delivered", "failed"], maxSelect: 1, required: true }),
        // How often it has been tried since it was written, or since it was last asked for again.
        new NumberField({ name: "tries", onlyInt: true, min: 0 }),
        // It was asked for again, and keeps nobody else waiting.
        flag("resent"),
        // [{"at", "status"?, "error"?, "milliseconds", "response"?}], the newest last.
        json("attempts", 256 * 1024),
        date("next_attempt"),
        // Who is delivering it just now, and until when nobody else does.
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
        // Taken when it is due and may go, made due again, settled by who holds it. What it says never changes but to leave a person out.
        updateRule: `${SERVICE} && ${notSet("team", "partner", "profile", "check", "stream", "event")} && redacted = false && (
          (${notSet("payload", "redacted", "resent", "state")} && (leased_until = "" || leased_until < @now) && state = "pending"
            && next_attempt <= @now && partner.active = true && partner.webhook_disabled = "") ||
          (${notSet("payload", "redacted")} && (leased_until = "" || leased_until < @now)
            && @request.body.state = "pending" && @request.body.lease:isset = true && @request.body.lease = "") ||
          (${notSet("payload", "redacted", "resent")} && @request.body.state:isset = true && lease != "" && lease = @request.body.lease) ||
          (@request.body.redacted = true && @request.body.payload:isset = true))`,
      },
    );

    // What can be sent: the first of each stream that is not delivered yet, with where it goes and how it is signed.
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

    // What a partner is shown.
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
