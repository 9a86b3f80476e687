/* SPDX-License-Identifier: MIT */
/* ncurses, and nothing of it anywhere else. newterm, since initscr ends the program if it fails. */
#include "cmd/top_screen.h"

#include <errno.h>

#ifdef VBLK_HAVE_NCURSES

#include <curses.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* How far apart the bytes of one key may come; ncurses would have a second, and all waits. */
#define ESCAPE_MS 25

/* Pairs are numbered by style, from 1 on. */
static void prepare_colors(void)
{
	start_color();
	use_default_colors();
	init_pair(TOP_TITLE + 1, COLOR_CYAN, -1);
	init_pair(TOP_HEADER + 1, -1, -1);
	init_pair(TOP_ALARM + 1, COLOR_RED, -1);
	init_pair(TOP_HINT + 1, COLOR_BLUE, -1);
	init_pair(TOP_PLAIN + 1, -1, -1);
}

/* TERM=dumb has not: what is drawn on it is a heap of letters. */
static bool has_cursor_address(void)
{
	const char *text = tigetstr("cup");

	return text && text != (const char *)-1;
}

int top_screen_open(bool color)
{
	SCREEN *screen = newterm(NULL, stdout, stdin);

	if (!screen)
		return -ENOTTY;
	set_term(screen);
	if (!has_cursor_address()) {
		endwin();
		delscreen(screen);
		return -ENOTTY;
	}
	cbreak();
	noecho();
	nodelay(stdscr, TRUE);
	keypad(stdscr, TRUE);
	set_escdelay(ESCAPE_MS);
	curs_set(0);
	if (color && has_colors())
		prepare_colors();
	return 0;
}

void top_screen_close(void)
{
	SCREEN *screen = set_term(NULL);

	if (!screen)
		return;
	set_term(screen);
	endwin();
	delscreen(screen);
}

void top_screen_resize(void)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row && size.ws_col)
		resizeterm(size.ws_row, size.ws_col);
	clearok(curscr, TRUE);
}

void top_screen_size(unsigned int *width, unsigned int *height)
{
	*width = (unsigned int)(COLS > 0 ? COLS : 0);
	*height = (unsigned int)(LINES > 0 ? LINES : 0);
}

static attr_t attributes(enum top_style style)
{
	return style == TOP_HEADER			  ? A_REVERSE
	       : style == TOP_TITLE || style == TOP_ALARM ? A_BOLD
							  : A_NORMAL;
}

void top_screen_draw(const struct top_line *lines, unsigned int count)
{
	erase();
	for (unsigned int i = 0; i < count; i++) {
		attr_set(attributes(lines[i].style),
			 has_colors() ? (short)(lines[i].style + 1) : (short)0, NULL);
		mvaddstr((int)i, 0, lines[i].text);
	}
	attr_set(A_NORMAL, 0, NULL);
	refresh();
}

int top_screen_key(void)
{
	const int key = getch();

	return key == ERR ? -1 : key;
}

#else

int top_screen_open(bool color)
{
	(void)color;
	return -ENOSYS;
}

void top_screen_close(void)
{
}

void top_screen_resize(void)
{
}

void top_screen_size(unsigned int *width, unsigned int *height)
{
	*width = *height = 0;
}

void top_screen_draw(const struct top_line *lines, unsigned int count)
{
	(void)lines;
	(void)count;
}

int top_screen_key(void)
{
	return -1;
}

#endif
