"""Mistakes that somebody could make, each with the tests that have to find it.

`make mutants` plants them one by one. The first ones are those that cost others data; the list is
a floor for the tests, not a measure of them.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Bug:
    """A mistake.

    Args:
        name: What is wrong.
        file: Where, below `backfill`.
        changes: Texts that stand there once each, and what is planted instead.
        tests: Which tests find it, as pytest names them, below `tests`.
    """

    name: str
    file: str
    changes: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


def _bug(name: str, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name, file, ((old, new),), tests)


_WHOLE = "functional/test_whole_history.py"
_IDS = "functional/test_event_ids.py"
_CHANGED = "functional/test_changed_sources.py"
_ENDS = "functional/test_exit_codes.py"
_BOUNDS = "functional/test_bounds.py"
_SOCKETS = "contracts/test_delivery.py"
_TRACK = "unit/delivery/test_track_delivery.py"
_VERDICTS = "unit/delivery/test_verdicts.py"
_PACING = "unit/delivery/test_pacing.py"
_SENDERS = "unit/cluster/test_senders.py"
_LEASE = "unit/remote_state/test_lease.py"
_KEEPER = "unit/remote_state/test_keeper.py"
_DATABASE = "unit/journal/test_database.py"
_SEND = "unit/engine/test_send.py"
_DEDUPE = "unit/sandbox/test_dedupe.py"
_HISTORIES = "functional/test_sandbox_histories.py"

BUGS = (
    _bug(
        "a merge into somebody who is merged away is sent",
        "planning/grouping.py",
        "_note(gone[stays], self._found.chained, self._found.chained_at)",
        "pass",
        "unit/planning/test_grouping.py::test_merges_are_counted_whose_order_would_matter",
    ),
    _bug(
        "relationships of one person with two objects are one",
        "operations/subjects.py",
        """pc.binary_join_element_wise('["', escaped(key), '","', escaped(target), '"]', "")""",
        """pc.binary_join_element_wise('["', escaped(key), '","', escaped(key), '"]', "")""",
        "unit/operations/test_subjects.py::test_two_relationships_are_never_written_alike",
    ),
    _bug(
        "what is not in the export counts as to be removed though nobody asked",
        "operations/subjects.py",
        'if source.is_profile and source.sync.vanished == "delete":',
        "if source.is_profile:",
        "unit/operations/test_subjects.py::test_what_vanishes_is_removed_by_a_source_of_its_type",
    ),
    Bug(
        "rows are settled before they are answered",
        "engine/send.py",
        (
            (
                "outcome = await self._delivery.deliver(batch)\n",
                "outcome = Outcome((), 1)\n",
            ),
            (
                "deletes=deletes)\n            self._unanswered -= 1\n",
                "deletes=deletes)\n            await self._delivery.deliver(batch)\n",
            ),
        ),
        (f"{_ENDS}::test_75_for_a_service_that_never_accepts",),
    ),
    _bug(
        "a position is committed before its rejections",
        "journal/journal.py",
        "        if settlement.rejections:\n",
        "        if settlement.rejections:\n            self.commit()\n",
        "functional/test_power_cuts.py::test_a_power_cut_loses_no_commit",
    ),
    _bug(
        "the low watermark jumps over a hole",
        "journal/parts.py",
        "if start == self.low_watermark:",
        "if start >= self.low_watermark:",
        "unit/journal/test_parts.py",
    ),
    _bug(
        "reading goes on behind rows that are not settled",
        "journal/parts.py",
        'reached = bisect_right(self.positions, self.ranges.low_watermark, key=attrgetter("row"))',
        "reached = len(self.positions)",
        "contracts/test_journal.py",
    ),
    _bug(
        "a file is known by its name, whatever it holds",
        "job.py",
        "return next(iter(self._by_content.get((each.source, digest), {}).values()), None)",
        "return next(self.named(each), None)",
        f"{_CHANGED}::test_a_changed_source_stops_the_job",
    ),
    _bug(
        "event ids are random",
        "encoding/identity.py",
        "hashed.update(each)",
        'hashed.update(each + __import__("os").urandom(9))',
        "unit/encoding/test_identity.py",
        _IDS,
    ),
    _bug(
        "event ids depend on the file's name",
        "engine/prepare.py",
        "self._pipeline.namespace, accepted, numbers",
        "self._pipeline.namespace + judged.place.name, accepted, numbers",
        _IDS,
    ),
    _bug(
        "identical rows are told apart by where they stand",
        "planning/row_decisions.py",
        'np.where(decided["kind"] == RowDecision.OCCURRENCE, decided["value"], 0)',
        'np.where(decided["kind"] == RowDecision.OCCURRENCE, decided["row"], 0)',
        _IDS,
    ),
    _bug(
        "e-mails in other letters are other people",
        "encoding/identity.py",
        'pc.utf8_lower(person) if identifier_type == "email" else person',
        "person",
        "unit/encoding/test_identity.py",
    ),
    _bug(
        "207 is taken for success",
        "delivery/verdicts.py",
        "        return _some_refused(answer, count)\n",
        "        return Settled()\n",
        _VERDICTS,
    ),
    _bug(
        "a redirect is taken for success",
        "delivery/verdicts.py",
        "return Abort(_redirected(answer))",
        "return Settled()",
        "functional/test_service_answers.py::test_redirects_are_never_followed",
    ),
    _bug(
        "any 200 is taken for success, also a portal's page",
        "delivery/verdicts.py",
        'return Settled() if is_empty_object(answer) else Retry("unknown")',
        "return Settled()",
        _VERDICTS,
    ),
    _bug(
        "Retry-After is read by our own clock",
        "delivery/verdicts.py",
        "(moment - now).total_seconds()",
        "(moment - datetime.now(moment.tzinfo)).total_seconds()",
        _VERDICTS,
    ),
    _bug(
        "a throttle counts against the batch",
        "delivery/verdicts.py",
        'if kind != "throttled" and not first',
        "if not first",
        _VERDICTS,
    ),
    _bug(
        "an outage that lets some requests through rejects rows",
        "delivery/verdicts.py",
        "not first and succeeded > failed_too",
        "not first and succeeded",
        _VERDICTS,
    ),
    _bug(
        "a retry goes out on the next stale connection",
        "delivery/track_api.py",
        "self._fresh if fresh else self._pooled",
        "self._pooled",
        f"{_SOCKETS}::test_connections_that_are_all_stale",
    ),
    _bug(
        "the HTTP library sends again by itself",
        "delivery/track_api.py",
        "middlewares=(_only_once, _only_whole)",
        "middlewares=(_only_whole,)",
        f"{_SOCKETS}::test_every_request_is_an_attempt",
    ),
    _bug(
        "a handshake that breaks off is taken for a false certificate",
        "delivery/track_api.py",
        '        case aiohttp.ClientConnectorError():\n            return "unreachable"',
        '        case aiohttp.ClientConnectorError():\n            return "untrusted"',
        f"{_SOCKETS}::test_a_handshake_that_is_cut",
    ),
    _bug(
        "a revoked key rejects rows",
        "delivery/verdicts.py",
        "_MALFORMED = frozenset({400, 422})",
        "_MALFORMED = frozenset({400, 401, 403, 422})",
        f"{_ENDS}::test_4_for_a_key_that_is_revoked_meanwhile",
    ),
    _bug(
        "half of a refused batch is forgotten",
        "delivery/track_delivery.py",
        "parts += [(offset + left.count, right), (offset, left)]",
        "parts += [(offset, left)]",
        f"{_TRACK}::test_the_poison_alone_is_refused",
    ),
    _bug(
        "the rows of a second half are taken for those of the first",
        "delivery/track_delivery.py",
        "(offset + left.count, right)",
        "(offset, right)",
        f"{_TRACK}::test_the_poison_alone_is_refused",
    ),
    _bug(
        "after a sleep, missed turns are made up for",
        "delivery/pacing.py",
        "self.next_s = max(self.next_s, now_s) + step_s",
        "self.next_s = (self.next_s if self.next_s > 0 else now_s) + step_s",
        _PACING,
    ),
    _bug(
        "turns leave no room for those that workers take late",
        "delivery/pacing.py",
        "rate / (1 + self._late_s())",
        "rate",
        _SENDERS,
    ),
    _bug(
        "a worker that was stopped sends what has lapsed",
        "cluster/attempts.py",
        "if clock() > grant.until_s:",
        "if False:",
        _SENDERS,
    ),
    _bug(
        "what a lost worker was granted is sent again before it has lapsed",
        "cluster/senders.py",
        "if (wait_s := lapsed_s - self._time.now_s()) > 0:",
        "if (wait_s := 0.0) > 0:",
        _SENDERS,
    ),
    _bug(
        "a parcel that has gone is found by what lies in its place",
        "cluster/parcels.py",
        "if 0 <= at < each.size and each.mapping() is not None:",
        "if 0 <= at < each.size or True:",
        "unit/cluster/test_process_workers.py::"
        "test_a_parcel_that_was_taken_is_found_by_where_its_bytes_lie",
    ),
    _bug(
        "each process has the whole rate",
        "engine/run.py",
        "        delivery.share(",
        "        print(",
        "functional/test_shared_rate.py",
    ),
    _bug(
        "the file of the shared rate is not locked",
        "delivery/pacing.py",
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        "unit/delivery/test_pacing_shared.py",
    ),
    _bug(
        "each row of a person is sent by itself",
        "engine/prepare.py",
        'gone = accepted.decided["kind"] == RowDecision.MERGED',
        "gone = accepted.rows < 0",
        _WHOLE,
    ),
    _bug(
        "a merged row does not wait for the one that carries it",
        "engine/prepare.py",
        "answered = rows[self.journal.settled(part).contains(rows)]",
        "answered = rows",
        f"{_BOUNDS}::test_the_rows_of_a_person_share_their_fate",
    ),
    _bug(
        "events are sent while customers are under way",
        "engine/send.py",
        "            if self._under_way:\n                await asyncio.wait(self._under_way)\n",
        "",
        _BOUNDS,
    ),
    _bug(
        "identify is stamped with a moment of the past",
        "operations/encode.py",
        'person, \',"type":"person"},\']\n    if isinstance(source, EventsSource)',
        'person, \',"timestamp":1,"type":"person"},\']\n    if isinstance(source, EventsSource)',
        "unit/operations/test_encode.py",
    ),
    _bug(
        "the journal is not forced to the disk",
        "journal/database.py",
        'LOCAL = Storage("wal", "FULL")',
        'LOCAL = Storage("wal", "NORMAL")',
        "functional/test_power_cuts.py::test_a_power_cut_loses_no_commit",
    ),
    _bug(
        "a cursor moves past now",
        "planning/source_stats.py",
        "pc.max(pc.if_else(future, None, cursor))",
        "pc.max(cursor)",
        "unit/sync/test_nights.py::test_a_cursor_never_moves_past_now",
    ),
    _bug(
        "an event is sent again for what it says",
        "sync/differences.py",
        "VALUES (?, NULL, NULL, true)",
        "VALUES (?, NULL, NULL, false)",
        "functional/test_sync_events.py::"
        "test_an_id_that_was_delivered_is_not_sent_again_whatever_it_says",
    ),
    _bug(
        "people left out for a shared address count as vanished",
        "sync/differences.py",
        "        UNION ALL\n        SELECT people.type, people.identifier FROM people"
        " SEMI JOIN left_out USING (part, row)\n",
        "",
        "functional/test_sync_guards.py::"
        "test_people_left_out_for_a_shared_address_have_not_vanished",
    ),
    _bug(
        "lost commits leave nobody in doubt",
        "sync/catch_up.py",
        "if journal.lost_commits or not (snapshot.number == known or ahead):",
        "if not (snapshot.number == known or ahead):",
        "unit/sync/test_catch_up.py::test_after_lost_commits_everybody_is_in_doubt",
    ),
    _bug(
        "a refused deletion forgets the person",
        "sync/catch_up.py",
        "(settled & ~refused) | may_be_sent",
        "settled | may_be_sent",
        "functional/test_sync_doubt.py::test_whom_the_api_did_not_delete_is_still_known",
    ),
    _bug(
        "a retry leaves no doubt about people",
        "commands/retry.py",
        "            self._doubt(persons)\n",
        "",
        "functional/test_sync_doubt.py::"
        "test_whom_a_retry_sent_is_sent_again_as_the_source_has_them",
    ),
    _bug(
        "a limited sync counts as a night",
        "sync/nights.py",
        "if seen.cursor_max is not None and job.limit is None:",
        "if seen.cursor_max is not None:",
        "functional/test_sync_cursor.py::test_a_limited_sync_moves_no_cursor",
    ),
    _bug(
        "a limited run settles what a whole run would settle otherwise",
        "job.py",
        "            closed[part].settle(rows + 1, plan.found.rows.get(part, 0) + 1)\n",
        "            pass\n",
        "functional/test_limit.py",
    ),
    _bug(
        "rows of one kind in many pieces lose count",
        "planning/hash_groups.py",
        "np.where(rank < 0, -1 - rank, 1)",
        "np.where(rank < 0, 1, 1)",
        "unit/planning/test_grouping.py",
    ),
    _bug(
        "small files are not forced to the disk",
        "files.py",
        "if lasting:\n                os.fsync(file.fileno())",
        "if not lasting:\n                os.fsync(file.fileno())",
        "unit/test_files.py",
    ),
    _bug(
        "a plan is put in place before it is on the disk",
        "planning/folder.py",
        "        make_lasting(self.path)\n",
        "",
        "unit/test_job.py",
    ),
    _bug(
        "what is under way has no bound",
        "engine/send.py",
        "        await self._places.enter()\n",
        "",
        _BOUNDS,
    ),
    _bug(
        "what waits for its turn is sent after Ctrl-C",
        "engine/send.py",
        "        self._delivery.stop(why)\n",
        "",
        "functional/test_stopping.py::test_what_was_not_sent_before_a_signal_stays",
    ),
    _bug(
        "what was never sent is in doubt",
        "delivery/track_delivery.py",
        "                if tries:\n                    raise\n",
        "                raise\n",
        "functional/test_stopping.py::test_what_was_not_sent_before_a_signal_stays",
    ),
    _bug(
        "rows are sent before the journal has granted it",
        "engine/send.py",
        "        if not granted:\n            self.commit()\n",
        "",
        _BOUNDS,
    ),
    _bug(
        "digits are taken for numbers",
        "sources/csv_cells.py",
        "            column_types=dict.fromkeys(header, pa.string()),\n",
        "",
        "unit/sources/test_delimited.py::test_text_is_never_taken_for_a_number",
    ),
    _bug(
        "infinity is written into JSON",
        "encoding/json_text.py",
        "finite = pc.is_finite(column)",
        "finite = pc.is_valid(column)",
        "unit/encoding/test_json_text.py",
        "unit/encoding/test_cell_json.py",
    ),
    _bug(
        "formulas reach the report",
        "rejected/safe_cells.py",
        r"""return _DANGEROUS.sub(r"\1'\2", text.translate(_PICTURES))""",
        "return text.translate(_PICTURES)",
        "unit/rejected/test_writer.py",
    ),
    _bug(
        "two processes run one job",
        "journal/lock.py",
        "        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)\n",
        "        pass\n",
        "unit/journal/test_lock.py::test_the_second_process_is_told_who_the_first_is",
    ),
    _bug(
        "a state that is replaced meanwhile goes unnoticed",
        "journal/database.py",
        "if _identity(self.path) != self._identity:",
        "if self._identity is None:",
        f"{_DATABASE}::test_a_state_that_is_deleted_or_replaced_meanwhile_stops_the_run",
    ),
    _bug(
        "checksums are not looked at",
        "journal/database.py",
        "if _checksum(values) != row[-1]:",
        "if row[-1] is None:",
        f"{_DATABASE}::test_no_flipped_bit_in_the_database_goes_unnoticed",
    ),
    _bug(
        "dates are read as the first rows show, whatever the others say",
        "planning/first_pass.py",
        "if proof.readings() == readings:",
        "if proof.readings():",
        "unit/planning/test_proof.py::test_all_rows_have_the_last_word_over_the_first",
    ),
    _bug(
        "events that may repeat are let through",
        "planning/duplicate_filter.py",
        'repeated(some["hash"])',
        'some["row"] == 0',
        "unit/planning/test_duplicate_filter.py",
        "unit/planning/test_plan.py",
    ),
    _bug(
        "a transform may change its mind",
        "engine/prepare.py",
        "if planned is not None and planned != judged.accepted.digest():",
        "if planned == judged:",
        f"{_ENDS}::test_2_for_a_transform_that_changes_its_mind",
    ),
    _bug(
        "the key is written into the journal",
        "engine/run.py",
        'journal.meta["url"] = url\n',
        'journal.meta["url"] = url + credentials.authorization()\n',
        "functional/test_exit_codes.py::test_75_for_a_service_that_never_accepts",
    ),
    _bug(
        "a verification takes whoever is missing for equal",
        "verification/read_back.py",
        "            is_so = any(next(",
        "            is_so = not found or any(next(",
        "unit/verification/test_read_back.py",
    ),
    _bug(
        "a verification goes above the limit of the App API",
        "delivery/app_api_reader.py",
        "RATE = 9.6\n",
        "RATE = 14.0\n",
        "unit/verification/test_read_back.py",
    ),
    _bug(
        "a second piece of work counts what the first has sent",
        "engine/send.py",
        "= meter.attempts, meter.bytes_sent\n",
        "= 0, 0\n",
        "unit/engine/test_run.py",
    ),
    _bug(
        "the key is shown by repr",
        "delivery/credentials.py",
        "api_key: str = field(repr=False)",
        "api_key: str",
        "unit/delivery/test_credentials.py",
    ),
    _bug(
        "a success counts though the request was never read",
        "delivery/track_api.py",
        "if response.ok and transport is not None and",
        "if not response.ok and transport is not None and",
        f"{_SOCKETS}::test_a_success_before_the_request_was_read",
    ),
    _bug(
        "a key that a server echoes is kept",
        "delivery/exchange.py",
        "if status != _OK:",
        "if status == _OK:",
        f"{_SOCKETS}::test_a_key_that_the_server_echoes_goes_no_further",
    ),
    _bug(
        "a note in the lock keeps the tail of the one before",
        "journal/lock.py",
        "record.ljust(_RECORD_BYTES)",
        "record",
        "unit/journal/test_lock.py",
    ),
    _bug(
        "a link in the state folder is followed",
        "journal/directory.py",
        "if not stat.S_ISDIR(found.st_mode):",
        "if stat.S_ISREG(found.st_mode):",
        "functional/test_links_in_the_state.py",
        "unit/journal/test_database.py",
    ),
    _bug(
        "a damaged plan is believed",
        "job.py",
        'name = plan.damage(sealed["seal"])',
        'name = ""',
        "functional/test_damaged_plans.py",
    ),
    _bug(
        "a file that was replaced looks the same",
        "sources/interface.py",
        "found.st_mtime_ns, found.st_ino)",
        "found.st_mtime_ns, 0)",
        "unit/sources/test_interface.py",
    ),
    _bug(
        "a store that ignores conditions mixes two versions",
        "sources/stores.py",
        "if version.is_other(ObjectVersion.of(answer.meta)):",
        "if not answer.meta:",
        "contracts/test_stored_file.py",
    ),
    _bug(
        "an object of another address is taken for the same",
        "sources/objects.py",
        'named = f"{self.path}\\n{self.version.identity}"',
        "named = self.version.identity",
        "functional/test_object_stores.py",
    ),
    _bug(
        "an empty cell clears consent",
        "judge/judge.py",
        'each.name.partition(".")[0] not in _NEVER_CLEARED',
        "each.name",
        "unit/judge/test_judge.py",
    ),
    _bug(
        "a comma stands bare in a v1 path",
        "encoding/identity.py",
        'quote(person, safe="")',
        'quote(person, safe=",")',
        f"{_SOCKETS}::test_identifiers_arrive_byte_for_byte",
    ),
    _bug(
        "a plus stands bare in a v1 path",
        "encoding/identity.py",
        'quote(person, safe="")',
        'quote(person, safe="+")',
        f"{_SOCKETS}::test_identifiers_arrive_byte_for_byte",
    ),
    _bug(
        "a refusal at the edge of two files counts in both",
        "engine/send.py",
        "np.searchsorted(refused_at, [offset, offset + count])",
        "np.searchsorted(refused_at, [offset, offset + count + 1])",
        _SEND,
    ),
    _bug(
        "a row exactly at the ceiling is sent without a grant",
        "engine/send.py",
        "self._journal.ceiling(operations.part) <= last:",
        "self._journal.ceiling(operations.part) < last:",
        _SEND,
    ),
    _bug(
        "an end with unanswered requests leaves nothing in doubt",
        "engine/send.py",
        "if nothing_in_flight:",
        "if nothing_in_flight or self._clock:",
        _SEND,
    ),
    _bug(
        "merged rows do not know what an earlier run rejected",
        "engine/prepare.py",
        "return delivered | {row: each.reasons for row, each in rejected.items()}",
        "return delivered | ({} if rejected else {})",
        "unit/engine/test_run.py::test_merged_rows_know_the_rejection_that_an_earlier_run_kept",
    ),
    _bug(
        "a retry sends events that are held or skipped",
        "commands/retry.py",
        "ChunkPreparer(self._job.pipeline, {}, self._now_s, said_of)",
        "ChunkPreparer(self._job.pipeline, {}, 2 * self._now_s, said_of)",
        "functional/test_retry.py::test_fixed_events_that_are_recent_are_left_out_as_a_run_would",
    ),
    _bug(
        "the guard forgets the minute in which events become old",
        "planning/source_stats.py",
        "if minute >= since)",
        "if minute > since)",
        "unit/planning/test_source_stats.py",
    ),
    _bug(
        "the hour that the clock shows twice is a microsecond too long",
        "instants/zones.py",
        "twice = (later > 0) & (local_us < table.local_end[earlier])",
        "twice = (later > 0) & (local_us <= table.local_end[earlier])",
        "unit/instants/test_zones.py",
    ),
    _bug(
        "an id's milliseconds are rounded",
        "operations/encode.py",
        "np.floor_divide(_required(accepted.micros).to_numpy(), 1000)",
        "np.rint(_required(accepted.micros).to_numpy() / 1000).astype(np.int64)",
        "unit/operations/test_encode.py",
    ),
    _bug(
        "zero has a sign",
        "encoding/json_text.py",
        'if digits.startswith("-") and number != "0" else number',
        'if digits.startswith("-") else number',
        "unit/encoding/test_json_text.py",
    ),
    _bug(
        "the workspace of environment 0 is taken for none",
        "delivery/region.py",
        "if self.environment_id is not None:",
        "if self.environment_id:",
        "unit/delivery/test_destination.py",
    ),
    _bug(
        "the seconds of earlier calls are forgotten",
        "engine/accounting.py",
        'seconds = round(float(journal.meta.get("seconds", 0.0)) + call_s, 3)',
        "seconds = round(call_s, 3)",
        "unit/engine/test_run.py",
    ),
    _bug(
        "two names are left out as one",
        "report/redaction.py",
        "number = sum(each == kind for each, _ in self._stand_ins) + 1",
        "number = bool(self._stand_ins) + 1",
        "unit/report/test_redaction.py",
    ),
    _bug(
        "a service that is gone weighs more than Ctrl-C",
        "errors.py",
        "_PRECEDENCE = (1, 6, 4, 5, 2, 7, 130, 143, 75, 8, 3, 0)",
        "_PRECEDENCE = (1, 6, 4, 5, 2, 7, 75, 130, 143, 8, 3, 0)",
        "unit/cli/test_exits.py",
    ),
    _bug(
        "a full quota is a bug of ours",
        "errors.py",
        "_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)",
        "_DISK = (errno.ENOSPC, errno.EROFS, errno.EIO)",
        "unit/cli/test_exits.py",
    ),
    _bug(
        "sandbox: an id is remembered a second too long",
        "sandbox/dedupe.py",
        "(seconds[at] > oldest)",
        "(seconds[at] >= oldest)",
        _DEDUPE,
    ),
    _bug(
        "sandbox: an id that is young is remembered a second too long",
        "sandbox/dedupe.py",
        "young.get(key, NEVER) <= oldest",
        "young.get(key, NEVER) < oldest",
        _DEDUPE,
    ),
    _bug(
        "elsewhere: whoever was taken over takes the lock back",
        "remote_state/lease.py",
        "if found is None or head is None or head.token != self.head.token:",
        "if found is None:",
        f"{_LEASE}::test_whoever_was_taken_over_hears_it_at_its_next_write",
    ),
    _bug(
        "elsewhere: a holder is taken over although it lives",
        "remote_state/lease.py",
        "while head.held and clock.now_s() - heard_s <= pace.takeover_s:",
        "while head.held and clock.now_s() - heard_s > pace.takeover_s:",
        f"{_LEASE}::test_a_holder_that_lives_keeps_it",
    ),
    _bug(
        "elsewhere: what a killed pod sent last is not in doubt",
        "remote_state/lease.py",
        "return self.commits + self.sending",
        "return self.commits",
        f"{_LEASE}::test_what_a_killed_holder_sent_is_in_doubt_until_one_lets_go",
    ),
    _bug(
        "elsewhere: rows are sent before their plan is in the bucket",
        "remote_state/keeper.py",
        "files = self._mirror.upload(self._lease, journal.image())",
        "files = self._mirror.upload_journal(self._lease, journal.image())",
        f"{_KEEPER}::test_all_is_there_before_the_first_request",
    ),
    _bug(
        "elsewhere: whoever was taken over writes over the results of who did it",
        "remote_state/keeper.py",
        "        self._lease.write(commits=self._commits())\n        files = self._mirror",
        "        files = self._mirror",
        f"{_KEEPER}::test_a_keeper_that_was_taken_over_stops_and_writes_nothing",
    ),
    _bug(
        "elsewhere: an outage that is longer than a takeover stops nothing",
        "remote_state/keeper.py",
        "if silent_s >= self._pace.stop_s:",
        "if silent_s >= 2 * self._pace.takeover_s:",
        f"{_KEEPER}::test_an_outage_stops_nothing_until_another_may_take_over",
    ),
    _bug(
        "sandbox: of several sights of an id the earliest counts",
        "sandbox/dedupe.py",
        "np.concatenate([keys, run[0]]), np.concatenate([seconds, run[1]])",
        "np.concatenate([run[0], keys]), np.concatenate([run[1], seconds])",
        _DEDUPE,
    ),
    _bug(
        "sandbox: `until` leaves out its own second",
        "sandbox/listings.py",
        "occurred_s <= $until)",
        "occurred_s < $until)",
        "functional/test_sandbox_api.py",
    ),
    _bug(
        "sandbox: what was stored of a batch is done again after a kill inside it",
        "sandbox/workspace.py",
        "new = operations[max(0, stored + 1 - first) :]",
        "new = operations if stored + 1 - first < len(operations) else []",
        f"{_HISTORIES}::test_a_batch_that_was_killed_inside_is_done_once",
    ),
    Bug(
        "sandbox: an identify changes somebody before it asks the tables",
        "sandbox/workspace.py",
        (
            (
                (
                    "        if self._asks_the_tables(operation):\n"
                    "            self._bring_up_to_date(batch)\n"
                ),
                "",
            ),
            (
                "        if visitor.waiting:\n",
                "        if visitor.waiting:\n            self._bring_up_to_date(batch)\n",
            ),
        ),
        (f"{_HISTORIES}::test_an_identify_that_asked_the_tables_is_done_once",),
    ),
)
