"""A guest book that forgets: the smallest thing with a page, a form and an answer in JSON."""

import getpass

from flask import Flask, redirect, render_template, request

app = Flask(__name__)
guests = []


@app.get("/")
def show():
    return render_template("guests.html", guests=guests)


@app.post("/")
def sign():
    guests.append(request.form["name"])
    return redirect("/")


@app.get("/status")
def status():
    return {"guests": len(guests), "user": getpass.getuser()}
