'use strict';
(() => {
  const WORDS = {
    en: {
      waiting: 'Waiting for the broadcast', live: 'Live', ended: 'Ended', vod: 'Recording',
      soon: 'The broadcast is over. The recording is being made.', over: 'The broadcast is over.',
      missing: 'There is no such broadcast.', forbidden: 'This address is not good, or not any more. Ask for a new one.',
      offline: 'No connection. Trying again.', unmute: 'Tap for sound', behind: s => `${s} s behind`,
    },
    ko: {
      waiting: '방송을 기다리는 중', live: '생방송', ended: '종료됨', vod: '다시보기',
      soon: '방송이 끝났습니다. 다시보기를 준비하고 있습니다.', over: '방송이 끝났습니다.',
      missing: '방송을 찾을 수 없습니다.', forbidden: '주소가 올바르지 않거나 만료되었습니다. 새 주소를 받아 주세요.',
      offline: '연결이 끊겼습니다. 다시 연결하는 중입니다.', unmute: '눌러서 소리 켜기', behind: s => `${s}초 지연`,
    },
  };
  const language = (navigator.languages || [navigator.language])
    .map(name => String(name).slice(0, 2)).find(name => name in WORDS) || 'en';
  const words = WORDS[language];
  document.documentElement.lang = language;

  const [video, notice, unmute, stateLabel, latencyLabel] =
    ['video', 'notice', 'unmute', 'state', 'latency'].map(id => document.getElementById(id));
  unmute.textContent = words.unmute;

  // Safari plays HLS itself, with low latency. Others that say they can do not know of parts.
  const isNative = !!video.canPlayType('application/vnd.apple.mpegurl') &&
    ('WebKitPlaybackTargetAvailabilityEvent' in window || !('MediaSource' in window));
  // So a stalled player catches up instead of staying behind for good.
  const SETTINGS = {
    lowLatencyMode: true, maxLiveSyncPlaybackRate: 1.5, liveMaxLatencyDuration: 5, liveSyncDuration: 1.2,
    backBufferLength: 30, enableWorker: false,
  };
  const STUCK = 6000, CALM = 10000, LOOK = {waiting: 2000, live: 10000, ended: 3000}, RETRY = [500, 1000, 2000, 4000, 8000];

  let hls = null, playing = '', isLive = false;   // What is played.
  let view = null, skew = 0, lookAgain = 0;       // What the server says, and how far its clock is ahead.
  let failures = 0, restart = 0;                  // What went wrong of late, and when.
  let failedAt = 0, recoveredAt = 0;
  let moved = Date.now(), position = -1;          // When the picture moved last.

  function say(text, state, label) {
    notice.textContent = text;
    stateLabel.dataset.state = state;
    stateLabel.textContent = label;
    document.title = label ? `${label} · Garim` : 'Garim';
  }

  async function look() {
    clearTimeout(lookAgain);
    let wait = LOOK.waiting;
    try {
      const asked = Date.now();
      const answer = await fetch(`${location.pathname}/state${location.search}`, {cache: 'no-store'});
      if (answer.status === 403 || answer.status === 404) {
        stop();
        say(words[answer.status === 403 ? 'forbidden' : 'missing'], '', '');
        wait = LOOK.live;
      } else if (!answer.ok) {
        throw new Error(answer.status);
      } else {
        view = await answer.json();
        skew = view.now - (asked + Date.now()) / 2;
        follow();
        wait = video.ended ? LOOK.ended : LOOK[view.state];
      }
    } catch {
      if (!playing) say(words.offline, '', '');
    }
    if (view && view.vod && playing === view.vod) return;
    lookAgain = setTimeout(look, wait);
  }

  function follow() {
    const {state, live, vod, recording} = view;
    if (state === 'live') {
      say(playing === live ? notice.textContent : '', 'live', words.live);
      if (playing !== live) play(live, true);
    } else if (state === 'ended') {
      // What is left of the broadcast is played to its end.
      if (isLive && !video.ended && Date.now() - moved < STUCK) return;
      if (vod) {
        say('', 'ended', words.vod);
        if (playing !== vod) play(vod, false);
      } else {
        stop();
        say(recording ? words.soon : words.over, 'ended', words.ended);
      }
    } else {
      stop();
      say(words.waiting, 'waiting', words.waiting);
    }
  }

  function stop() {
    clearTimeout(restart);
    if (hls) hls.destroy();
    hls = null;
    if (playing) {
      video.removeAttribute('src');
      video.load();
    }
    playing = '';
    isLive = false;
    unmute.hidden = true;
  }

  async function play(address, live) {
    stop();
    playing = address;
    isLive = live;
    moved = Date.now();
    position = -1;
    if (live && !isNative) {
      try {
        await script();
      } catch {
        return failed();
      }
      // Meanwhile it may be over.
      if (playing !== address || hls) return;
      hls = new Hls(SETTINGS);
      hls.on(Hls.Events.ERROR, (_, error) => { if (error.fatal) broken(error); });
      hls.loadSource(address);
      hls.attachMedia(video);
    } else {
      video.src = address;
    }
    start();
  }

  function start() {
    const started = video.play();
    // Not even muted: the button does it.
    if (started) started.catch(error => { if (error.name === 'NotAllowedError') unmute.hidden = false; });
    unmute.hidden = !video.muted;
  }

  /** hls.js, where it is needed. */
  function script() {
    if (window.Hls) return Promise.resolve();
    return new Promise((done, fail) => {
      const element = document.createElement('script');
      element.src = document.documentElement.dataset.hls;
      element.onload = done;
      element.onerror = () => { element.remove(); fail(); };
      document.head.append(element);
    });
  }

  function broken(error) {
    // Once in a while the decoder is enough to be made anew.
    if (error.type === Hls.ErrorTypes.MEDIA_ERROR && Date.now() - recoveredAt > CALM) {
      recoveredAt = Date.now();
      hls.recoverMediaError();
      start();
    } else {
      failed();
    }
  }

  /** Everything from the beginning, later and later. */
  function failed() {
    stop();
    const wait = RETRY[Math.min(failures, RETRY.length - 1)];
    failures += 1;
    failedAt = Date.now();
    if (failures > 2) say(words.offline, '', '');
    clearTimeout(lookAgain);
    restart = setTimeout(look, wait);
  }

  /** When what is shown was taken, by the server's clock, in milliseconds. */
  function taken() {
    if (hls) return hls.playingDate ? hls.playingDate.getTime() : NaN;
    return video.getStartDate ? video.getStartDate().getTime() + video.currentTime * 1000 : NaN;
  }

  setInterval(() => {
    const now = Date.now();
    if (video.currentTime !== position || video.paused || document.hidden) {
      if (video.currentTime > position && now - failedAt > CALM) failures = 0;
      [position, moved] = [video.currentTime, now];
    }
    if (!playing) {
      latencyLabel.textContent = '';
      return;
    }
    if (isLive && !video.ended && now - moved > STUCK) return failed();
    const late = isLive ? (now + skew - taken()) / 1000 : NaN;
    latencyLabel.textContent = late > -1 && late < 600 ? words.behind(Math.max(late, 0).toFixed(1)) : '';
  }, 500);

  unmute.addEventListener('click', () => {
    video.muted = false;
    start();
  });
  video.addEventListener('volumechange', () => { unmute.hidden = !playing || !video.muted; });
  video.addEventListener('ended', look);
  video.addEventListener('error', () => { if (playing && !hls && video.error) failed(); });
  video.addEventListener('play', () => {
    // hls.js catches up by itself.
    if (!isLive || hls || !video.seekable.length) return;
    const edge = video.seekable.end(video.seekable.length - 1);
    if (edge - video.currentTime > 8) video.currentTime = edge - 2;
  });
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && playing && isLive) { moved = Date.now(); start(); }
  });
  window.addEventListener('online', look);
  look();
})();
