'use strict';

// The jobs, as the studio describes them: fetched every second, replaced where something has changed.
const jobs = document.getElementById('jobs');
let shown = '';

async function refresh() {
  try {
    const answer = await fetch('/jobs');
    const text = await answer.text();
    if (answer.ok && text !== shown) {
      jobs.innerHTML = text;  // made by a template that escapes everything
      shown = text;
    }
    document.getElementById('lost').hidden = answer.ok;
  } catch (error) {
    document.getElementById('lost').hidden = false;
  }
  setTimeout(refresh, document.hidden ? 5000 : 1000);
}
refresh();

// A chosen or dropped picture is shown before it is sent.
for (const input of document.querySelectorAll('input[type=file]')) {
  input.addEventListener('change', () => {
    input.parentNode.querySelectorAll('.preview').forEach(old => old.remove());
    if (input.files.length) {
      const image = document.createElement('img');
      image.className = 'preview';
      image.alt = 'the picture that was chosen';
      image.src = URL.createObjectURL(input.files[0]);
      input.parentNode.append(image);
    }
  });
}

// Drawing: strokes of black ink, sent while they grow, one request at a time.
const canvas = document.getElementById('canvas');
const ink = canvas.getContext('2d');
const reading = document.getElementById('reading');
let last = null, asking = false, changed = false;

function clear() {
  ink.fillStyle = '#ffffff';
  ink.fillRect(0, 0, canvas.width, canvas.height);
  reading.textContent = '';
  changed = false;
}

function at(event) {
  const box = canvas.getBoundingClientRect();
  return [(event.clientX - box.left) * canvas.width / box.width, (event.clientY - box.top) * canvas.height / box.height];
}

function draw(event) {
  if (!last) return;
  const next = at(event);
  ink.lineWidth = 16;
  ink.lineCap = 'round';
  ink.beginPath();
  ink.moveTo(...last);
  ink.lineTo(...next);
  ink.stroke();
  last = next;
  changed = true;
  ask();
}

function ask() {
  if (asking || !changed) return;
  asking = true;
  changed = false;
  canvas.toBlob(async blob => {
    try {
      const answer = await fetch('/digit', {method: 'POST', body: blob});
      const found = await answer.json();
      const sure = found.probabilities && found.probabilities.map(p => Math.round(100 * p) + ' %').join(', ');
      reading.textContent = found.error || `${found.text} (${sure})`;
    } catch (error) {
      reading.textContent = 'not read';
    }
    asking = false;
    setTimeout(ask, 100);
  });
}

canvas.addEventListener('pointerdown', event => { last = at(event); canvas.setPointerCapture(event.pointerId); draw(event); });
canvas.addEventListener('pointermove', draw);
canvas.addEventListener('pointerup', () => { last = null; });
document.getElementById('clear').addEventListener('click', clear);
clear();
