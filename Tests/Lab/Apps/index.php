<?php
// The lab's PHP application. As app.py: the word behind /fault/ says what is to happen, and is noted
// in the file LAB_DEEDS before. nginx's port is unknown to FastCGI.
$path = parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH);
$parts = array_values(array_filter(explode('/', $path)));
$at = array_search('fault', $parts);
$word = $at === false ? 'ok' : $parts[$at + 1];
if ($word !== 'ok') {
    file_put_contents($_SERVER['LAB_DEEDS'], end($parts) . ' ' . getmypid() . " 0 $word\n", FILE_APPEND);
}
switch ($word) {
    case 'slow': usleep(1000 * (int) $_GET['ms']); break;
    case 'kill': posix_kill(getmypid(), 9); sleep(5); break;
    case 'segv': posix_kill(getmypid(), 11); sleep(5); break;
    case 'oom': $hoard = []; while (true) { $hoard[] = str_repeat('x', 1 << 20); } break;
    case 'big': header('X-Big: ' . str_repeat('a', 9000)); break;
    case 'badheader': header('X-Bad: x'); break;
}
echo "ok\n";
