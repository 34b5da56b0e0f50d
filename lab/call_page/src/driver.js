// Copyright (c) 2026 The matrixrtc.backend authors
// SPDX-License-Identifier: Apache-2.0

import { MatrixError, Method } from "matrix-js-sdk";
import { OpenIDRequestState, WidgetDriver } from "matrix-widget-api";

const DELAYED = "/_matrix/client/unstable/org.matrix.msc4140/delayed_events"; // MSC4140
const TRANSPORTS = "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports"; // MSC4519
const FOCI = "org.matrix.msc4143.rtc_foci"; // in the client well-known, where the homeserver has no such endpoint

/** What the widget cannot do itself, done with the user's access token. Everything that it asks for is granted. */
export class CallDriver extends WidgetDriver {
    constructor(client, room, encrypted) {
        super();
        this.client = client;
        this.room = room;
        this.encrypted = encrypted;
    }

    #ask(method, path, query, body) {
        return this.client.http.authedRequest(method, path, query, body, { prefix: "" });
    }

    async #put(type, content, stateKey, query) {
        const room = encodeURIComponent(this.room.roomId);
        const name = encodeURIComponent(type);
        const isState = stateKey !== null && stateKey !== undefined;
        const rest = isState ? `state/${name}/${encodeURIComponent(stateKey)}` : `send/${name}/${this.client.makeTxnId()}`;
        return this.#ask(Method.Put, `/_matrix/client/v3/rooms/${room}/${rest}`, query, content);
    }

    async validateCapabilities(requested) {
        return requested;
    }

    async sendEvent(type, content, stateKey = null) {
        const sent = await this.#put(type, content, stateKey, {});
        return { roomId: this.room.roomId, eventId: sent.event_id };
    }

    async sendStickyEvent(duration, type, content) {
        const sent = await this.#put(type, content, null, { "org.matrix.msc4354.sticky_duration_ms": duration });
        return { roomId: this.room.roomId, eventId: sent.event_id };
    }

    async sendDelayedEvent(delay, type, content, stateKey = null) {
        const made = await this.#put(type, content, stateKey, { "org.matrix.msc4140.delay": delay });
        return { roomId: this.room.roomId, delayId: made.delay_id };
    }

    async sendDelayedStickyEvent(delay, duration, type, content) {
        const made = await this.#put(type, content, null, {
            "org.matrix.msc4140.delay": delay, "org.matrix.msc4354.sticky_duration_ms": duration,
        });
        return { roomId: this.room.roomId, delayId: made.delay_id };
    }

    async cancelScheduledDelayedEvent(id) {
        await this.#ask(Method.Post, `${DELAYED}/${id}/cancel`, {}, {});
    }

    async restartScheduledDelayedEvent(id) {
        await this.#ask(Method.Post, `${DELAYED}/${id}/restart`, {}, {});
    }

    async sendScheduledDelayedEvent(id) {
        await this.#ask(Method.Post, `${DELAYED}/${id}/send`, {}, {});
    }

    async sendToDevice(type, isEncrypted, contents) {
        for (const [userId, devices] of Object.entries(contents)) {
            for (const [deviceId, content] of Object.entries(devices)) {
                if (isEncrypted) await this.client.encryptAndSendToDevice(type, [{ userId, deviceId }], content);
                else await this.client.sendToDevice(type, new Map([[userId, new Map([[deviceId, content]])]]));
            }
        }
    }

    async readRoomState(roomId, type, stateKey) {
        const state = this.room.getLiveTimeline().getState("f");
        const found = stateKey === undefined ? state.getStateEvents(type) : [state.getStateEvents(type, stateKey)];
        return found.filter(Boolean).map((event) => event.getEffectiveEvent());
    }

    async readRoomTimeline(roomId, type, msgtype, stateKey, limit) {
        return this.room.getLiveTimeline().getEvents()
            .filter((event) => event.getType() === type && !event.isState())
            .slice(-limit || undefined).map((event) => event.getEffectiveEvent());
    }

    async readStickyEvents() {
        return [...this.room._unstable_getStickyEvents()].map((event) => event.getEffectiveEvent());
    }

    getKnownRooms() {
        return this.client.getVisibleRooms().map((room) => room.roomId);
    }

    askOpenID(observer) {
        this.client.getOpenIdToken().then(
            (token) => observer.update({ state: OpenIDRequestState.Allowed, token }),
            () => observer.update({ state: OpenIDRequestState.Blocked }),
        );
    }

    // As Element Web does: the homeserver is asked first, and the well-known counts only where it has no such endpoint.
    async getRtcTransports() {
        try {
            const found = await this.#ask(Method.Get, TRANSPORTS, {}, undefined);
            return { rtc_transports: found.rtc_transports ?? [] };
        } catch (error) {
            if (!(error instanceof MatrixError) || error.errcode !== "M_UNRECOGNIZED") throw error;
            const host = this.client.getDomain();
            const document = await (await fetch(`https://${host}/.well-known/matrix/client`)).json();
            if (!document[FOCI]) throw error;
            return { rtc_transports: document[FOCI] };
        }
    }

    // Without this the widget cannot tell a refusal of the server from a failure of this page.
    processError(error) {
        if (!(error instanceof MatrixError)) return undefined;
        return {
            matrix_api_error: {
                http_status: error.httpStatus ?? 0, http_headers: {}, url: error.url ?? "",
                response: { errcode: error.errcode ?? "M_UNKNOWN", error: error.data?.error ?? error.message, ...error.data },
            },
        };
    }
}
