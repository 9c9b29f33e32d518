// The few words of Socket.IO's protocol that the chat needs, over a WebSocket.
"use strict";

const state = document.getElementById("state");
const said = document.getElementById("said");
let socket;
let reason = null;

function open() {
  const address = location.origin.replace("http", "ws");
  socket = new WebSocket(`${address}/socket.io/?EIO=4&transport=websocket`);
  socket.addEventListener("message", ({ data }) => receive(data));
  socket.addEventListener("close", close);
}

function receive(data) {
  if (data[0] === "0") {
    socket.send("40");
  } else if (data === "2") {
    socket.send("3");
  } else if (data.startsWith("42")) {
    const [name, told] = JSON.parse(data.slice(2));
    if (name === "said") {
      add(told);
    } else if (name === "session_ended") {
      reason = told.reason;
    }
  } else if (data.startsWith("41") || data.startsWith("44")) {
    reason ??= "not logged in";
    socket.close();
  }
}

function add({ by, text }) {
  const item = document.createElement("li");
  item.className = "card";
  item.textContent = `${by}: ${text}`;
  said.append(item);
}

function close() {
  if (reason !== null) {
    document.querySelector("#say button").disabled = true;
    state.textContent = `The chat is closed, because your session is over (${reason}).`;
  } else {
    state.textContent = "The connection is lost. Trying again…";
    setTimeout(open, 1000);
  }
}

document.getElementById("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = document.getElementById("text");
  if (socket.readyState !== WebSocket.OPEN) {
    return;
  }
  socket.send(`42${JSON.stringify(["say", field.value])}`);
  field.value = "";
});

open();
