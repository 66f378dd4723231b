/// Face Liveness sessions: their owner and, once they have ended, AWS's result. A verification can use a session, and a session
/// serves one verification.
migrate(
  (app) => {
    const SERVICE = '@request.auth.collectionName = "users" && @request.auth.role = "service"';
    const MB = 1024 * 1024;
    const idOf = (name) => app.findCollectionByNameOrId(name).id;
    const OVER = ["SUCCEEDED", "FAILED", "EXPIRED"];

    const sessions = new Collection({ type: "base", name: "liveness_sessions" });
    for (const field of [
      new TextField({ name: "session_id", max: 36, required: true }),
      new TextField({ name: "team", max: 64 }),
      // Set for a session that was created by flow token.
      new RelationField({ name: "profile", collectionId: idOf("profiles"), maxSelect: 1, cascadeDelete: true }),
      new SelectField({ name: "status", values: ["CREATED", ...OVER], maxSelect: 1, required: true }),
      new NumberField({ name: "confidence" }),
      // "<UTC day>#<n>" of a session created by flow token. The unique index makes the daily limit exact.
      new TextField({ name: "flow_attempt", max: 16 }),
      new FileField({ name: "reference_image", maxSize: 5 * MB, maxSelect: 1, protected: true }),
      new FileField({ name: "audit_images", maxSize: 5 * MB, maxSelect: 4, protected: true }),
      // Bounding boxes of the face: in the reference image, then in each audit image.
      new JSONField({ name: "bounding_boxes", maxSize: 4096 }),
      new AutodateField({ name: "created", onCreate: true }),
      new AutodateField({ name: "updated", onCreate: true, onUpdate: true }),
    ]) {
      sessions.fields.add(field);
    }
    sessions.addIndex("idx_liveness_sessions_session_id", true, "session_id", "");
    sessions.addIndex("idx_liveness_sessions_flow_attempt", true, "profile, flow_attempt", "flow_attempt != ''");
    Object.assign(sessions, {
      listRule: SERVICE,
      viewRule: SERVICE,
      // A session by flow token is refused once its profile is decided, even when it was decided after the look-up.
      createRule: `${SERVICE} && (@request.query.by != "flow" ||
        (profile.verification_status != "verified" && profile.verification_status != "rejected"))`,
      // AWS's result is written once.
      updateRule: `${SERVICE} && ${OVER.map((status) => `status != "${status}"`).join(" && ")}`,
    });
    app.save(sessions);

    const history = app.findCollectionByNameOrId("verification_history");
    history.fields.add(new RelationField({ name: "liveness_session", collectionId: sessions.id, maxSelect: 1 }));
    history.fields.add(new JSONField({ name: "fingerprint_verdict", maxSize: 4096 }));
    history.addIndex("idx_verification_history_liveness_session", true, "liveness_session", "liveness_session != ''");
    app.save(history);

    const overview = app.findCollectionByNameOrId("profile_overview");
    const today = "CAST(date('now') AS TEXT) AS today";
    if (!overview.viewQuery.includes(today)) throw new Error("profile_overview is not the view that this migration knows");
    overview.viewQuery = overview.viewQuery.replace(
      today,
      `CAST((SELECT COUNT(*) FROM liveness_sessions AS l
        WHERE l.profile = p.id AND substr(l.flow_attempt, 1, 10) = date('now')) AS INT) AS flow_sessions_today, ${today}`,
    );
    app.save(overview);
  },
  () => {
    throw new Error("the schema is not taken back: restore a backup of the data folder instead");
  },
);
