-- What a resource has attached: every element of an R4 resource that is an Attachment, the references that may stand in its
-- place, and what a list, a document or a catalog has as its entries. Three elements alone counted before, so that a Binary
-- behind a photo or a scanned consent was nobody's, and was not kept back with what it is attached to.
--
-- The paths of a type are beside its number; a test holds them against the definitions. Sample values of definitions
-- (StructureDefinition, StructureMap) and extensions are not among them. A version, a fragment and the scheme do not count.
-- The index has rows of what has something attached, and none of all the others of these types.
--
-- The function of before stays for nodes of the version before, which ask by it until they end: without an index, slowly,
-- and as right as they ever were.
CREATE FUNCTION kiln_attached(rt smallint, body jsonb) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
  paths jsonpath[];
  path jsonpath;
  found jsonb := '[]';
BEGIN
  paths := CASE rt
    -- ActivityDefinition
    WHEN 2 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- EffectEvidenceSynthesis
    WHEN 43 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- EventDefinition
    WHEN 49 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- Evidence
    WHEN 50 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- EvidenceVariable
    WHEN 51 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- Measure
    WHEN 72 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- ResearchDefinition
    WHEN 116 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- ResearchElementDefinition
    WHEN 117 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- ResearchStudy
    WHEN 118 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- RiskEvidenceSynthesis
    WHEN 121 THEN CASE WHEN body ? 'relatedArtifact' THEN '{$.relatedArtifact.document.url}'::jsonpath[] END
    -- BodyStructure
    WHEN 11 THEN CASE WHEN body ? 'image' THEN '{$.image.url}'::jsonpath[] END
    -- CatalogEntry
    WHEN 16 THEN CASE WHEN body ? 'referencedItem' THEN '{$.referencedItem.reference}'::jsonpath[] END
    -- Claim
    WHEN 19 THEN CASE WHEN body ? 'supportingInfo' THEN '{$.supportingInfo.valueAttachment.url,$.supportingInfo.valueReference.reference}'::jsonpath[] END
    -- ClaimResponse
    WHEN 20 THEN CASE WHEN body ? 'form' THEN '{$.form.url}'::jsonpath[] END
    -- Communication
    WHEN 23 THEN CASE WHEN body ? 'payload' THEN '{$.payload.contentAttachment.url,$.payload.contentReference.reference}'::jsonpath[] END
    -- CommunicationRequest
    WHEN 24 THEN CASE WHEN body ? 'payload' THEN '{$.payload.contentAttachment.url,$.payload.contentReference.reference}'::jsonpath[] END
    -- Composition
    WHEN 26 THEN CASE WHEN body ? 'section' THEN '{$.section.**.entry.reference}'::jsonpath[] END
    -- Consent
    WHEN 29 THEN CASE WHEN body ? 'sourceAttachment' THEN '{$.sourceAttachment.url}'::jsonpath[] END
    -- Contract
    WHEN 30 THEN CASE WHEN body ?| '{term,friendly,legal,rule,legallyBindingAttachment,legallyBindingReference}'::text[] THEN '{$.term.**.answer.valueAttachment.url,$.term.**.answer.valueReference.reference,$.friendly.contentAttachment.url,$.friendly.contentReference.reference,$.legal.contentAttachment.url,$.legal.contentReference.reference,$.rule.contentAttachment.url,$.rule.contentReference.reference,$.legallyBindingAttachment.url,$.legallyBindingReference.reference}'::jsonpath[] END
    -- DeviceDefinition
    WHEN 36 THEN CASE WHEN body ? 'physicalCharacteristics' THEN '{$.physicalCharacteristics.image.url}'::jsonpath[] END
    -- MedicinalProductManufactured
    WHEN 87 THEN CASE WHEN body ? 'physicalCharacteristics' THEN '{$.physicalCharacteristics.image.url}'::jsonpath[] END
    -- DiagnosticReport
    WHEN 40 THEN CASE WHEN body ? 'presentedForm' THEN '{$.presentedForm.url}'::jsonpath[] END
    -- DocumentManifest
    WHEN 41 THEN CASE WHEN body ? 'content' THEN '{$.content.reference}'::jsonpath[] END
    -- DocumentReference
    WHEN 42 THEN CASE WHEN body ? 'content' THEN '{$.content.attachment.url}'::jsonpath[] END
    -- ExplanationOfBenefit
    WHEN 53 THEN CASE WHEN body ?| '{supportingInfo,form}'::text[] THEN '{$.supportingInfo.valueAttachment.url,$.supportingInfo.valueReference.reference,$.form.url}'::jsonpath[] END
    -- HealthcareService
    WHEN 60 THEN CASE WHEN body ? 'photo' THEN '{$.photo.url}'::jsonpath[] END
    -- Patient
    WHEN 103 THEN CASE WHEN body ? 'photo' THEN '{$.photo.url}'::jsonpath[] END
    -- Person
    WHEN 106 THEN CASE WHEN body ? 'photo' THEN '{$.photo.url}'::jsonpath[] END
    -- Practitioner
    WHEN 108 THEN CASE WHEN body ? 'photo' THEN '{$.photo.url}'::jsonpath[] END
    -- RelatedPerson
    WHEN 114 THEN CASE WHEN body ? 'photo' THEN '{$.photo.url}'::jsonpath[] END
    -- Library
    WHEN 68 THEN CASE WHEN body ?| '{relatedArtifact,content}'::text[] THEN '{$.relatedArtifact.document.url,$.content.url}'::jsonpath[] END
    -- List
    WHEN 70 THEN CASE WHEN body ? 'entry' THEN '{$.entry.item.reference}'::jsonpath[] END
    -- Media
    WHEN 74 THEN CASE WHEN body ? 'content' THEN '{$.content.url}'::jsonpath[] END
    -- MedicinalProductPackaged
    WHEN 88 THEN CASE WHEN body ? 'packageItem' THEN '{$.packageItem.**.physicalCharacteristics.image.url}'::jsonpath[] END
    -- Parameters
    WHEN 102 THEN CASE WHEN body ? 'parameter' THEN '{$.parameter.**.valueAttachment.url,$.parameter.**.valueRelatedArtifact.document.url,$.parameter.**.valueReference.reference}'::jsonpath[] END
    -- PlanDefinition
    WHEN 107 THEN CASE WHEN body ?| '{relatedArtifact,goal,action}'::text[] THEN '{$.relatedArtifact.document.url,$.goal.documentation.document.url,$.action.**.documentation.document.url}'::jsonpath[] END
    -- Questionnaire
    WHEN 112 THEN CASE WHEN body ? 'item' THEN '{$.item.**.initial.valueAttachment.url,$.item.**.initial.valueReference.reference}'::jsonpath[] END
    -- QuestionnaireResponse
    WHEN 113 THEN CASE WHEN body ? 'item' THEN '{$.item.**.answer.valueAttachment.url,$.item.**.answer.valueReference.reference}'::jsonpath[] END
    -- RequestGroup
    WHEN 115 THEN CASE WHEN body ? 'action' THEN '{$.action.**.documentation.document.url}'::jsonpath[] END
    -- SubstanceNucleicAcid
    WHEN 132 THEN CASE WHEN body ? 'subunit' THEN '{$.subunit.sequenceAttachment.url}'::jsonpath[] END
    -- SubstanceProtein
    WHEN 134 THEN CASE WHEN body ? 'subunit' THEN '{$.subunit.sequenceAttachment.url}'::jsonpath[] END
    -- SubstancePolymer
    WHEN 133 THEN CASE WHEN body ? 'repeat' THEN '{$.repeat.repeatUnit.structuralRepresentation.attachment.url}'::jsonpath[] END
    -- SubstanceSpecification
    WHEN 137 THEN CASE WHEN body ? 'structure' THEN '{$.structure.representation.attachment.url}'::jsonpath[] END
    -- Task
    WHEN 140 THEN CASE WHEN body ?| '{input,output}'::text[] THEN '{$.input.valueAttachment.url,$.input.valueReference.reference,$.input.valueRelatedArtifact.document.url,$.output.valueAttachment.url,$.output.valueReference.reference,$.output.valueRelatedArtifact.document.url}'::jsonpath[] END
  END;
  IF paths IS NULL THEN
    RETURN '{}'::text[];
  END IF;
  -- Most have no Binary there, which takes no statement to find out.
  FOREACH path IN ARRAY paths LOOP
    found := found || jsonb_path_query_array(body, path);
  END LOOP;
  found := jsonb_path_query_array(found, '$[*] ? (@ like_regex "Binary/")');
  IF found = '[]' THEN
    RETURN '{}'::text[];
  END IF;
  RETURN (SELECT array_agg(DISTINCT regexp_replace(
      regexp_replace(url, '^[A-Za-z][A-Za-z0-9+.-]*://', ''), '(/_history/[^/#]*)?(#.*)?$', ''))
    FROM jsonb_array_elements_text(found) url);
END $$;

CREATE INDEX res_attachments ON res USING gin (kiln_attached(rt, body)) WITH (fastupdate = off)
  WHERE rt IN (2, 11, 16, 19, 20, 23, 24, 26, 29, 30, 36, 40, 41, 42, 43, 49, 50, 51, 53, 60, 68, 70, 72, 74, 87, 88, 102, 103, 106, 107, 108, 112, 113, 114, 115, 116, 117, 118, 121, 132, 133, 134, 137, 140) AND kiln_attached(rt, body) <> '{}'::text[];
DROP INDEX res_attached;
