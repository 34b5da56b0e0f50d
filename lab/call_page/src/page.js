// Copyright (c) 2026 The matrixrtc.backend authors
// SPDX-License-Identifier: Apache-2.0
//
// A Matrix client reduced to what Element Call needs of one: it logs nobody in, shows one room's call as a widget and answers it
// (MSC2762, MSC2871, MSC3819, MSC4157, MSC4407, MSC4515). The fragment of its address says for whom:
//   homeserver, user, token, device, room, call (where Element Call is), encrypted (1: the room is)

import { ClientEvent, createClient, MatrixEventEvent, RoomStateEvent } from "matrix-js-sdk";
import { ClientWidgetApi, Widget } from "matrix-widget-api";
import { CallDriver } from "./driver.js";

const given = new URLSearchParams(location.hash.slice(1));
const encrypted = given.get("encrypted") === "1";
const ROOM_WAIT = 30_000;

function say(text, isFault = false) {
    const state = document.getElementById("state");
    state.textContent = text;
    state.className = isFault ? "fault" : "";
}

async function loggedIn() {
    for (const name of ["homeserver", "user", "token", "device", "room", "call"]) {
        if (!given.get(name)) throw new Error(`This page's address says no ${name}: take a link that the lab prints.`);
    }
    const client = createClient({
        baseUrl: given.get("homeserver"),
        userId: given.get("user"),
        accessToken: given.get("token"),
        deviceId: given.get("device"),
    });
    // Synapse answers the same initial sync from memory for two minutes: another filter is another sync.
    const limit = 20 + Math.floor(Math.random() * 1000);
    if (encrypted) await client.initRustCrypto({ useIndexedDB: false });
    await client.startClient({ initialSyncLimit: limit });
    return client;
}

function theRoom(client) {
    const id = given.get("room");
    return new Promise((resolve, reject) => {
        const look = () => client.getRoom(id) && resolve(client.getRoom(id));
        client.on(ClientEvent.Room, look);
        client.on(ClientEvent.Sync, look);
        setTimeout(() => reject(new Error(`The homeserver shows no room ${id}.`)), ROOM_WAIT);
        look();
    });
}

function callAddress(client) {
    const parameters = new URLSearchParams({
        widgetId: "call",
        parentUrl: location.origin + location.pathname,
        roomId: given.get("room"),
        userId: client.getUserId(),
        deviceId: client.getDeviceId(),
        baseUrl: client.getHomeserverUrl(),
        perParticipantE2EE: String(encrypted),
        confineToRoom: "true",
        appPrompt: "false",
        lang: "en",
        theme: "dark",
    });
    return `${given.get("call")}/room#?${parameters}`;
}

// What Element Call sends to the client around it, to be answered and no more.
const ANSWERED = [
    "io.element.join", "io.element.device_mute", "io.element.close", "im.vector.hangup",
    "set_always_on_screen", "io.element.tile_layout", "io.element.spotlight_layout",
];

function show(client, room) {
    const frame = document.createElement("iframe");
    frame.allow = "camera; microphone; display-capture; autoplay; fullscreen; screen-wake-lock; speaker-selection; clipboard-write";
    frame.title = "Element Call";
    frame.src = callAddress(client);
    const widget = new Widget({
        id: "call", creatorUserId: client.getUserId(), type: "m.call", url: frame.src, waitForIframeLoad: false,
    });
    document.body.append(frame);
    const api = new ClientWidgetApi(widget, frame, new CallDriver(client, room, encrypted));
    api.setViewedRoomId(room.roomId);
    for (const action of ANSWERED) {
        api.on(`action:${action}`, (event) => {
            event.preventDefault();
            api.transport.reply(event.detail, {});
            if (action.endsWith("close")) say("You left the call.");
            if (action.endsWith("join")) say("Joined");
        });
    }
    return api;
}

// State reaches the widget only through feedStateUpdate, everything else through feedEvent: both are fed.
function feed(client, room, api) {
    const noFault = (error) => console.warn("not taken by the widget:", error.message);
    const event = (found) => {
        if (found.getRoomId() !== room.roomId || found.isDecryptionFailure()) return;
        if (found.isEncrypted() && !found.getClearContent()) return; // fed once it is decrypted
        api.feedEvent(found.getEffectiveEvent(), room.roomId).catch(noFault);
    };
    client.on(ClientEvent.Event, event);
    client.on(MatrixEventEvent.Decrypted, event);
    client.on(RoomStateEvent.Events, (found) => {
        if (found.getRoomId() === room.roomId) api.feedStateUpdate(found.getEffectiveEvent()).catch(noFault);
    });
    client.on(ClientEvent.ReceivedToDeviceMessage, ({ message, encryptionInfo }) => {
        api.feedToDevice(message, encryptionInfo !== null).catch(noFault);
    });
    room.on("RoomStickyEvents.Update", (added, updated) => {
        for (const found of [...added, ...updated.map((pair) => pair.current)]) event(found);
    });
}

async function main() {
    const client = await loggedIn();
    document.getElementById("who").textContent = client.getUserId();
    say("Waiting for the room");
    const room = await theRoom(client);
    document.title = `${client.getUserId()} in ${room.name}`;
    if (encrypted !== room.hasEncryptionStateEvent()) throw new Error("The address and the room disagree about encryption.");
    const api = show(client, room);
    feed(client, room, api);
    say(`In the room “${room.name}”`);
    await new Promise((resolve) => api.once("ready", resolve));
    document.body.dataset.widget = "ready";
}

main().catch((error) => {
    console.error(error);
    say(error.message, true);
});
